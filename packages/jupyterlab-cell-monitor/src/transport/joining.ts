import { errorType, parse, retryAfterMs } from './transport';
import type { MakeRequest } from './transport';

/** Whether this computer joined a class, as the server half says it. */
export interface IJoinState {
  readonly joined: boolean;
  /** As the class's staff sees it; empty before joining. */
  readonly name: string;
  /** The course's title; empty before joining. */
  readonly title: string;
  /** Of the instructor's machine; empty where nobody has named it. */
  readonly address: string;
  /** The server's configuration names it, so that the student need not. */
  readonly addressIsFixed: boolean;
  /** After joining: the name is another one than was sent, because this computer had joined before. */
  readonly nameKept: boolean;
}

/** Bounds of what the student enters, as the server half and the monitor have them. */
export const JOIN_CHARS = { address: 200, code: 40, name: 60 } as const;

export interface IJoinForm {
  readonly address: string;
  readonly code: string;
  readonly name: string;
}

export type JoinResult =
  | { kind: 'joined'; state: IJoinState }
  /** `reason` is the server half's error code, or `unreachable`. */
  | { kind: 'refused'; reason: string; retryAfterS: number };

/** Longer than the server half waits for the monitor. */
const TIMEOUT_MS = 25_000;

/** Joins a class through the server half, which keeps the secret. Never throws. */
export class HttpJoining {
  constructor(private readonly _request: MakeRequest) {}

  /** Returns null where the server half does not answer. */
  async state(): Promise<IJoinState | null> {
    const answer = await this._send({ method: 'GET' });
    return answer?.response.ok ? stateOf(answer.body) : null;
  }

  async join(form: IJoinForm): Promise<JoinResult> {
    const answer = await this._send({ method: 'POST', body: JSON.stringify(form) });
    const state = answer?.response.ok ? stateOf(answer.body) : null;
    if (state) {
      return { kind: 'joined', state };
    }
    const waitMs = retryAfterMs(answer?.response.headers.get('Retry-After') ?? null, Date.now());
    const reason = errorType(answer?.body ?? '') ?? 'unreachable';
    return { kind: 'refused', reason, retryAfterS: Math.ceil(waitMs / 1000) };
  }

  /** Returns null where there is no answer. */
  private async _send(init: RequestInit): Promise<{ response: Response; body: string } | null> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await this._request({
        ...init,
        cache: 'no-store',
        signal: abort.signal,
        headers: { 'Content-Type': 'application/json' }
      });
      return { response, body: await response.text() };
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  }
}

function stateOf(body: string): IJoinState | null {
  const answer = parse(body);
  if (typeof answer?.['joined'] !== 'boolean') {
    return null;
  }
  const text = (field: string): string => (typeof answer[field] === 'string' ? answer[field] : '');
  return {
    joined: answer['joined'],
    name: text('name'),
    title: text('title'),
    address: text('address'),
    addressIsFixed: answer['address_is_fixed'] === true,
    nameKept: answer['name_kept'] === true
  };
}
