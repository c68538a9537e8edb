import { utf8Length } from '../events/text';
import type { IClock } from '../runtime/clock';

/** A run that is open, as it is handed over to the server half: see docs/dev/contracts.md, "Jupyter Server half". */
export interface IOpenRun {
  readonly execution_id: string;
  /** The event id of its start, which the server half uses, too. */
  readonly start_id: string;
  readonly session_id: string;
  /** The highest number that the session has used. */
  readonly seq: number;
  readonly notebook: object;
  readonly cell: object;
  readonly course?: string;
  /** The id of its kernel. */
  readonly kernel?: string;
  /** When it was asked for, by this computer's clock. */
  readonly requested_at: string;
  readonly error_expected?: boolean;
  /** Where the server executes it, under a request id that this page does not know. */
  readonly server_code?: { readonly head: string; readonly bytes: number };
}

/** Open runs as a request's body has them, and their execution ids. */
export interface IHandedRuns {
  readonly json: string;
  readonly ids: readonly string[];
  /** The length of `json` in UTF-8 bytes. */
  readonly bytes: number;
}

const NONE: IHandedRuns = { json: '', ids: [], bytes: 0 };

/** Bytes of open runs in one request. */
export const HANDED_BYTES = 64 * 1024;

/**
 * The open runs of this page that the server half does not know yet. It reports their starts and ends when this page is
 * gone, so it must know them before: a browser that is killed says nothing. They ride along with the events.
 */
export class OpenRuns {
  constructor(private readonly _clock: IClock) {}

  /** Called when there is something to hand over. */
  onOpened: (() => void) | null = null;

  /** Whether runs wait that are in no request. */
  get waiting(): boolean {
    return [...this._runs.values()].some(run => !run.sending);
  }

  /** A run was asked for, `at` by the monotonic clock. */
  opened(run: IOpenRun, at: number = this._clock.monotonic()): void {
    if (!this._stopped) {
      this._runs.set(run.execution_id, { json: JSON.stringify(run), at, sending: false });
      this.onOpened?.();
    }
  }

  /** This page reports the end of a run. */
  closed(executionId: string): void {
    this._runs.delete(executionId);
  }

  /** The oldest that fit into so many bytes and are in no request; they are in one until `answered`. */
  take(bytes: number): IHandedRuns {
    const now = this._clock.monotonic();
    const parts: string[] = [];
    const ids: string[] = [];
    const most = Math.min(bytes, HANDED_BYTES);
    let used = FRAME_BYTES;
    for (const [id, run] of this._runs) {
      if (run.sending) {
        continue;
      }
      const json = `${run.json.slice(0, -1)},"age_ms":${Math.max(0, Math.round(now - run.at))}}`;
      const more = utf8Length(json) + 1;
      if (used + more > most) {
        break;
      }
      used += more;
      run.sending = true;
      parts.push(json);
      ids.push(id);
    }
    return ids.length === 0 ? NONE : { json: `"runs":[${parts.join(',')}],`, ids, bytes: used };
  }

  /** Their request has ended; unless the server half answered it, they wait again. */
  answered(ids: readonly string[], taken: boolean): void {
    for (const id of ids) {
      const run = this._runs.get(id);
      if (run && !taken) {
        run.sending = false;
      } else {
        this._runs.delete(id);
      }
    }
  }

  /** The server half takes none: an older one was started under this page. */
  stop(): void {
    this._stopped = true;
    this._runs.clear();
  }

  private readonly _runs = new Map<string, { readonly json: string; readonly at: number; sending: boolean }>();
  private _stopped = false;
}

const FRAME_BYTES = '"runs":[],'.length;
