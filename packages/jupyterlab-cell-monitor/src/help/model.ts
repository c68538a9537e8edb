import type { IClock } from '../runtime/clock';
import type { HelpPhase, IHelpState } from '../tokens';
import type { INotice } from '../transport/transport';
import type { ShownRequests } from './shown';

/** Interval of requests for the notices while a help request is open. */
export const POLL_PERIOD_MS = 3000;

/** Time until the first of them: by then the instructors usually see the request. */
export const FIRST_POLL_MS = 700;

/** A request that was not in the monitor's notices for this long is no longer open. */
const FORGOTTEN_MS = 60_000;

/** How long the end of a request is shown on a page that is visible. */
export const END_SHOWN_MS = 10_000;

/** Whether a request waits or is being helped with. */
export function isAsking(phase: HelpPhase): boolean {
  return phase === 'sending' || phase === 'open' || phase === 'claimed';
}

const NONE: IHelpState = { phase: 'none', requestId: null, by: null };

/** The model's dependencies. */
export interface IHelpHost {
  /** Emits `help_requested`; the id of that event, or null when no notebook is open. */
  request(message: string): string | null;
  /** Emits `help_cancelled`. */
  cancel(requestId: string): void;
  poll(): void;
  /** Whether the monitor refuses everything that the student does. */
  refused(): boolean;
  /** Whether the student can see the page. */
  visible(): boolean;
}

/**
 * The student's help request, as far as it is known here. The monitor's notices take precedence; a request made
 * before a reload is restored from them.
 */
export class HelpModel {
  constructor(
    private readonly _host: IHelpHost,
    private readonly _clock: IClock,
    private readonly _shown: Pick<ShownRequests, 'has' | 'add'>
  ) {}

  /** Called after each change with the state before it. */
  onChange: ((state: IHelpState, before: IHelpState) => void) | null = null;

  get state(): IHelpState {
    return this._state;
  }

  /** Requests help. False when a request is open already or no notebook is open. */
  request(message: string): boolean {
    if (isAsking(this._state.phase)) {
      return false;
    }
    const requestId = this._host.request(message.trim());
    if (requestId === null) {
      return false;
    }
    this._knownAt = this._clock.monotonic();
    this._set({ phase: 'sending', requestId, by: null });
    return true;
  }

  /** Cancels the request. */
  cancel(): void {
    const requestId = this._state.requestId;
    if (requestId !== null && isAsking(this._state.phase)) {
      this._over.add(requestId);
      this._host.cancel(requestId);
      this._set(NONE);
    }
  }

  /**
   * Applies the notices of an answer. Returns whether the open request has ended because the student is refused: its
   * instructors do not see it any more. Where that is corrected, it is open again.
   *
   * @param complete - the monitor itself gave its list; otherwise a request's absence means nothing
   */
  notices(notices: readonly INotice[], complete: boolean): boolean {
    if (!complete) {
      return false;
    }
    const help = notices.filter(notice => notice.kind === 'help' && notice.request_id);
    const asking = isAsking(this._state.phase);
    const own = help.find(notice => notice.request_id === this._state.requestId);
    if (asking && own) {
      this._knownAt = this._clock.monotonic();
      this._apply(own);
      return false;
    }
    if (!asking) {
      // The newest first, as the monitor received them: ids sort by the time of a clock that may be wrong.
      const others = help.filter(notice => !this._over.has(notice.request_id as string));
      const open = others.find(notice => notice.status === 'open' || notice.status === 'claimed');
      if (open) {
        this._knownAt = this._clock.monotonic();
        this._apply(open);
        return false;
      }
      // Ended while no page was open here, and nothing was asked for or cancelled since: older ends are no news.
      const since = help.findIndex(notice => !isEnd(notice.status));
      const news = since === -1 ? help : help.slice(0, since);
      const ended = others.filter(notice => isEnd(notice.status) && !this._shown.has(notice.request_id as string));
      ended.reverse().forEach(notice => {
        if (news.includes(notice)) {
          this._apply(notice);
        } else {
          this._shown.add(notice.request_id as string);
        }
      });
    } else if (this._state.phase !== 'sending') {
      const refused = this._host.refused();
      if (refused || this._clock.monotonic() - this._knownAt > FORGOTTEN_MS) {
        this._set(NONE);
      }
      return refused;
    }
    return false;
  }

  /** The monitor rejected these events. Returns whether the open request is among them. */
  rejected(ids: readonly string[]): boolean {
    const requestId = this._state.requestId;
    if (requestId === null || !isAsking(this._state.phase) || !ids.includes(requestId)) {
      return false;
    }
    this._over.add(requestId);
    this._set(NONE);
    return true;
  }

  dispose(): void {
    this._cancelPoll?.();
    this._cancelPoll = null;
    this._cancelEnd?.();
    this._cancelEnd = null;
  }

  private _apply(notice: INotice): void {
    const requestId = notice.request_id as string;
    switch (notice.status) {
      case 'open':
        this._set({ phase: 'open', requestId, by: null });
        break;
      case 'claimed':
        this._set({ phase: 'claimed', requestId, by: typeof notice.by === 'string' ? notice.by : null });
        break;
      case 'resolved':
      case 'expired':
        this._over.add(requestId);
        this._shown.add(requestId);
        this._set({ phase: notice.status, requestId, by: typeof notice.by === 'string' ? notice.by : null });
        break;
      default:
        this._over.add(requestId);
        this._set(NONE);
        break;
    }
  }

  private _set(state: IHelpState): void {
    const before = this._state;
    if (before.phase === state.phase && before.requestId === state.requestId && before.by === state.by) {
      return;
    }
    this._state = state;
    if (!isAsking(state.phase)) {
      this.dispose();
    } else if (!this._cancelPoll) {
      this._cancelEnd?.();
      this._cancelEnd = null;
      this._pollLater(FIRST_POLL_MS);
    }
    if (isEnd(state.phase)) {
      this._endLater();
    }
    this.onChange?.(state, before);
  }

  private _pollLater(ms: number): void {
    this._cancelPoll = this._clock.after(ms, () => {
      this._pollLater(POLL_PERIOD_MS);
      this._host.poll();
    });
  }

  /** Returns to the idle state once a visible page has shown the end. */
  private _endLater(): void {
    this._cancelEnd = this._clock.after(END_SHOWN_MS, () => {
      this._cancelEnd = null;
      if (this._host.visible()) {
        this._set(NONE);
      } else {
        this._endLater();
      }
    });
  }

  private _state: IHelpState = NONE;
  private _knownAt = 0;
  private _cancelPoll: (() => void) | null = null;
  private _cancelEnd: (() => void) | null = null;
  private readonly _over = new Set<string>();
}

/** Whether this is the status or phase of a request whose end the student is shown. */
function isEnd(status: string | undefined): boolean {
  return status === 'resolved' || status === 'expired';
}
