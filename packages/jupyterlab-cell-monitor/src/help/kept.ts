import type { Notebook } from '../events/types';
import type { IHelpState } from '../tokens';
import type { INotice } from '../transport/transport';

/** A request that is older has ended long ago: it closes itself within hours of its student's leaving. */
const KEPT_MS = 12 * 3600 * 1000;

/** The phases of a request that has not ended. */
const PHASES = ['sending', 'open', 'claimed', 'cancelling'] as const;

/** Whether a value is the phase of a request that has not ended. */
export function isUnended(phase: unknown): phase is (typeof PHASES)[number] {
  return PHASES.some(each => each === phase);
}

/** What is kept of the student's request. */
export interface IKeptRequest extends IHelpState {
  readonly requestId: string;
  readonly phase: (typeof PHASES)[number];
  /** The id of the event that takes it back, or null. */
  readonly cancellation: string | null;
  /** What it belongs to, in the shape of a notice, or null while that is not known. */
  readonly belongs: INotice | null;
}

/**
 * The student's request that has not ended, kept for the pages of this browser that are opened while the monitor cannot
 * be reached: they show it, as the page before them did, and can take it back where it was made.
 */
export class KeptRequest {
  /**
   * @param storage - null where the browser forbids it
   * @param now - the wall clock, milliseconds
   */
  constructor(
    private readonly _storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null,
    private readonly _key: string,
    private readonly _now: () => number
  ) {}

  read(): IKeptRequest | null {
    try {
      const value: unknown = JSON.parse(this._storage?.getItem(this._key) ?? 'null');
      return isKept(value) && Math.abs(this._now() - value.at) < KEPT_MS ? value : null;
    } catch {
      return null;
    }
  }

  /** What a request belongs to, or null where that is not known here. */
  belongsOf(requestId: string): INotice | null {
    const kept = this.read();
    return kept?.requestId === requestId ? kept.belongs : null;
  }

  /** Keeps how far the request is; what it belongs to stays known. */
  keep(state: IHelpState & { readonly requestId: string }, cancellation: string | null): void {
    this._write({ ...state, cancellation, belongs: this.belongsOf(state.requestId) });
  }

  /** Keeps what a request belongs to, once that is known. */
  belong(requestId: string, course: string | null, notebook: Notebook): void {
    const before = this.read();
    const request = before?.requestId === requestId ? before : { phase: 'sending', requestId, by: null, cancellation: null };
    const { id, path, title } = notebook;
    const named = { id, path, ...(title ? { title } : {}) };
    this._write({ ...request, belongs: { kind: 'help', request_id: requestId, ...(course ? { course } : {}), notebook: named } });
  }

  /** A request has ended; another one, of another page, stays. */
  forget(requestId: string | null): void {
    try {
      if (this.read()?.requestId === requestId) {
        this._storage?.removeItem(this._key);
      }
    } catch {
      // A storage that was forbidden meanwhile.
    }
  }

  private _write(value: Record<string, unknown>): void {
    try {
      this._storage?.setItem(this._key, JSON.stringify({ ...value, at: this._now() }));
    } catch {
      // A full storage: a page that is opened during an outage does not know of the request.
    }
  }
}

function isKept(value: unknown): value is IKeptRequest & { at: number } {
  if (!isRecord(value)) {
    return false;
  }
  const { requestId, phase, by, cancellation, belongs, at } = value;
  return (
    typeof requestId === 'string' &&
    isUnended(phase) &&
    isTextOrNull(by) &&
    isTextOrNull(cancellation) &&
    (belongs === null || namesNotebook(belongs)) &&
    typeof at === 'number'
  );
}

function namesNotebook(value: unknown): boolean {
  if (!isRecord(value) || !isRecord(value['notebook']) || !isTextOrNull(value['course'] ?? null)) {
    return false;
  }
  const { id, path, title } = value['notebook'];
  return typeof id === 'string' && typeof path === 'string' && isTextOrNull(title ?? null);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTextOrNull(value: unknown): boolean {
  return value === null || typeof value === 'string';
}
