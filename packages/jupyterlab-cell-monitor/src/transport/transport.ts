import type { IRefusal } from '../tokens';
import { newTraceparent } from './traceparent';

/** What the student should see. Kinds that this version does not know are ignored. */
export interface INotice {
  kind: string;
  request_id?: string;
  /** Of `help`: what the request belongs to. An older monitor does not say it. */
  course?: string;
  notebook?: { readonly id: string; readonly path: string; readonly title?: string | null } | null;
  status?: string;
  by?: string | null;
  at?: string;
  /** Of `spooled` and `off`: what must be changed, where waiting does not help. */
  reason?: string;
}

export interface IEventResult {
  status: 'accepted' | 'duplicate' | 'rejected' | 'retry';
  reason?: string;
}

/** How a request ended. */
export type SendResult =
  /** One result per event, in their order. `notices` is null where the monitor does not know them now. */
  | { kind: 'answer'; results: IEventResult[]; notices: INotice[] | null; refusals?: IRefusal[] }
  /** No service took the events; they may be sent again after `retryAfterMs`, fewer at a time if they were too many. */
  | { kind: 'unavailable'; retryAfterMs: number; reason: string; tooLarge?: boolean }
  /** This Jupyter server has no server half of ours. */
  | { kind: 'missing' }
  /** The request as a whole was rejected because of at least one of its events. */
  | { kind: 'refused'; reason: string }
  /** The sender may not send these events; sending them again changes nothing. */
  | { kind: 'denied'; reason: string };

/** Sends one request body. Never throws. */
export interface ITransport {
  /**
   * @param sent - the number of events in `body`
   * @param keepalive - let the request outlive the page; the browser then allows 64 KiB in all
   */
  send(body: string, sent: number, keepalive: boolean): Promise<SendResult>;
}

/** Makes one request to the server half; rejects when there is no answer. */
export type MakeRequest = (init: RequestInit) => Promise<Response>;

const TIMEOUT_MS = 15_000;

/** Posts batches to the server half. Never throws: every failure is a SendResult. */
export class HttpTransport implements ITransport {
  /** Whether the server half has answered: a 404 is a proxy's from then on. */
  private _met = false;

  constructor(private readonly _request: MakeRequest) {}

  /** Marks every request as sampled; for tests and for support. */
  traceAll = false;

  async send(body: string, sent: number, keepalive: boolean): Promise<SendResult> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await this._request({
        method: 'POST',
        body,
        keepalive,
        cache: 'default',
        signal: abort.signal,
        headers: { 'Content-Type': 'application/json', traceparent: newTraceparent(this.traceAll) }
      });
      const retryAfter = retryAfterMs(response.headers.get('Retry-After'), Date.now());
      const result = readAnswer(response.status, await response.text(), retryAfter, sent);
      this._met ||= result.kind === 'answer';
      return result.kind === 'missing' && this._met
        ? { kind: 'unavailable', retryAfterMs: retryAfter, reason: `HTTP ${response.status}` }
        : result;
    } catch (error) {
      return { kind: 'unavailable', retryAfterMs: 0, reason: error instanceof Error ? error.name : 'NetworkError' };
    } finally {
      clearTimeout(timer);
    }
  }
}

const MAX_RETRY_AFTER_MS = 10 * 60_000;

/** Milliseconds of a Retry-After header: seconds or an HTTP date; 0 when absent or unreadable. */
export function retryAfterMs(header: string | null, now: number): number {
  const text = header?.trim();
  if (!text) {
    return 0;
  }
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : 0;
}

/** More than the server half reports. */
const MAX_REFUSALS = 32;

function refusalsOf(value: unknown): IRefusal[] {
  return (Array.isArray(value) ? value.slice(0, MAX_REFUSALS) : []).filter(isRecord).map(refusal => ({
    reason: String(refusal['reason']),
    course: typeof refusal['course'] === 'string' ? refusal['course'] : null,
    events: typeof refusal['events'] === 'number' ? refusal['events'] : 1,
    everything: refusal['everything'] === true,
    ...('notebook' in refusal
      ? { notebook: typeof refusal['notebook'] === 'string' ? refusal['notebook'] : null }
      : {})
  }));
}

const STATUSES: readonly string[] = ['accepted', 'duplicate', 'rejected', 'retry'];

/** The codes of our own that refuse a body. With any other answer, such as a proxy's page, the events are kept. */
const REFUSALS: readonly string[] = ['400 invalid_body', '413 body_too_large', '413 too_many_events'];

/**
 * Reads an HTTP answer to a batch.
 *
 * @param sent - how many events the batch had; an answer with another number of results is unreadable
 */
export function readAnswer(status: number, body: string, retryAfter: number, sent: number): SendResult {
  if (status === 200) {
    const answer = parse(body);
    const results = answer?.['results'];
    const notices = answer?.['notices'];
    if (
      Array.isArray(results) &&
      results.length === sent &&
      results.every((result: unknown) => isRecord(result) && STATUSES.includes(String(result['status'])))
    ) {
      return {
        kind: 'answer',
        results: results as IEventResult[],
        notices: Array.isArray(notices) ? notices.filter(isNotice) : null,
        refusals: refusalsOf(answer?.['refusals'])
      };
    }
    return { kind: 'unavailable', retryAfterMs: retryAfter, reason: 'unreadable answer' };
  }
  if (status === 404 || status === 405) {
    return { kind: 'missing' };
  }
  const reason = errorType(body) ?? `HTTP ${status}`;
  if (status === 403 && reason === 'course_forbidden') {
    return { kind: 'denied', reason };
  }
  if (REFUSALS.includes(`${status} ${reason}`)) {
    return { kind: 'refused', reason };
  }
  // After an expired sign-in (401, 403) the student has to sign in again, which takes longer than seconds.
  const floor = status === 401 || status === 403 ? 15_000 : 0;
  return {
    kind: 'unavailable',
    retryAfterMs: Math.max(retryAfter, floor),
    reason,
    ...(status === 413 ? { tooLarge: true } : {})
  };
}

export function parse(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/** The `type` of the first `detail`: the stable code of the error. */
export function errorType(body: string): string | null {
  const detail = parse(body)?.['detail'];
  const first: unknown = Array.isArray(detail) ? detail[0] : null;
  return isRecord(first) && typeof first['type'] === 'string' ? first['type'] : null;
}

function isNotice(value: unknown): value is INotice {
  return isRecord(value) && typeof value['kind'] === 'string';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
