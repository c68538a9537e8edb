import type { IClock } from '../runtime/clock';
import type { HelpPhase, IHelpState } from '../tokens';
import type { INotice } from '../transport/transport';
import type { KeptRequest } from './kept';
import { isUnended } from './kept';
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

/** A request that the student has taken back, until the monitor confirms it. */
interface ICancellation {
  readonly eventId: string;
  /** What the student saw before. */
  readonly before: IHelpState;
  /** Since when the monitor lists the request although nothing waits here; monotonic. */
  listedSince: number | null;
}

const NONE: IHelpState = { phase: 'none', requestId: null, by: null };

/** The model's dependencies. */
export interface IHelpHost {
  /** Emits `help_requested`; the id of that event, or null when no notebook is open. */
  request(message: string): string | null;
  /**
   * Emits `help_cancelled`; the id of that event, or null when it cannot be made.
   *
   * @param notice - the monitor's latest notice of the request
   */
  cancel(requestId: string, notice: INotice | null): string | null;
  poll(): void;
  /** Whether events wait in this browser. */
  waiting(): boolean;
  /** Whether the monitor refuses everything that the student does. */
  refused(): boolean;
  /** Whether the student can see the page. */
  visible(): boolean;
}

/**
 * The student's help request, as far as it is known here. The monitor's notices take precedence; a request made
 * before a reload is restored from them, and until they come from what the browser kept of it.
 */
export class HelpModel {
  constructor(
    private readonly _host: IHelpHost,
    private readonly _clock: IClock,
    private readonly _shown: Pick<ShownRequests, 'has' | 'add'>,
    private readonly _kept: KeptRequest
  ) {
    this._restore();
  }

  /** Called after each change with the state before it. */
  onChange: ((state: IHelpState, before: IHelpState) => void) | null = null;

  /** Called when a request that the student took back is not taken back. */
  onNotTakenBack: (() => void) | null = null;

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
    this._refusedSince = null;
    this._set({ phase: 'sending', requestId, by: null });
    return true;
  }

  /** Cancels the request. It is over when the monitor reports it. */
  cancel(): void {
    const before = this._state;
    const { requestId } = before;
    if (requestId === null || !isAsking(before.phase)) {
      return;
    }
    const notice = this._listed.find(listed => listed.request_id === requestId) ?? this._kept.belongsOf(requestId);
    const eventId = this._host.cancel(requestId, notice);
    if (eventId === null) {
      this.onNotTakenBack?.();
      return;
    }
    this._over.add(requestId);
    this._cancellations.set(requestId, { eventId, before, listedSince: null });
    this._set({ phase: 'cancelling', requestId, by: null });
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
    this._listed = help;
    this._settleCancellations(help);
    if (this._state.phase === 'cancelling') {
      return false;
    }
    this._settleRestored(help);
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
    } else if (this._state.phase === 'sending') {
      return this._settleSending();
    } else {
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
    for (const [cancelled, { eventId }] of [...this._cancellations]) {
      if (ids.includes(cancelled)) {
        // The request itself came to nobody.
        this._takenBack(cancelled);
      } else if (ids.includes(eventId)) {
        this._notTakenBack(cancelled);
      }
    }
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

  /** Shows what the page before this one knew, which may be all that is known for the time of an outage. */
  private _restore(): void {
    const kept = this._kept.read();
    if (!kept) {
      return;
    }
    const { phase, requestId, by, cancellation } = kept;
    if (phase === 'cancelling' && cancellation !== null) {
      const before: IHelpState = { phase: 'open', requestId, by: null };
      this._over.add(requestId);
      this._cancellations.set(requestId, { eventId: cancellation, before, listedSince: null });
    }
    this._restoredSince = phase === 'sending' ? Infinity : -Infinity;
    this._state = { phase, requestId, by };
    this._pollLater(FIRST_POLL_MS);
  }

  /**
   * The monitor gave its first lists. A request that it had listed before the reload and does not list now has ended; one
   * that it had not may still wait in the Jupyter server.
   */
  private _settleRestored(help: readonly INotice[]): void {
    if (this._restoredSince === null || this._host.waiting()) {
      return;
    }
    const now = this._clock.monotonic();
    this._restoredSince = Math.min(this._restoredSince, now);
    if (help.some(notice => notice.request_id === this._state.requestId)) {
      this._restoredSince = null;
    } else if (now - this._restoredSince > FORGOTTEN_MS && !this._host.refused()) {
      this._set(NONE);
    }
  }

  private _settleCancellations(help: readonly INotice[]): void {
    const waiting = this._host.waiting();
    const now = this._clock.monotonic();
    for (const [requestId, cancellation] of [...this._cancellations]) {
      const notice = help.find(each => each.request_id === requestId);
      if (notice?.status !== 'open' && notice?.status !== 'claimed') {
        // A request that the monitor does not list yet is over only once its cancellation has left.
        if (notice || !waiting) {
          this._takenBack(requestId);
        }
      } else if (!waiting) {
        cancellation.listedSince ??= now;
        if (now - cancellation.listedSince > FORGOTTEN_MS) {
          // The Jupyter server, which had kept it, was refused later.
          this._notTakenBack(requestId, notice);
        }
      }
    }
  }

  private _takenBack(requestId: string): void {
    this._cancellations.delete(requestId);
    if (this._isCancelling(requestId)) {
      this._set(NONE);
    }
  }

  private _notTakenBack(requestId: string, notice?: INotice): void {
    const cancellation = this._cancellations.get(requestId);
    this._cancellations.delete(requestId);
    this._over.delete(requestId);
    if (cancellation && this._isCancelling(requestId)) {
      this._knownAt = this._clock.monotonic();
      if (notice) {
        this._apply(notice);
      } else {
        this._set(cancellation.before);
      }
    }
    this.onNotTakenBack?.();
  }

  private _isCancelling(requestId: string): boolean {
    return this._state.phase === 'cancelling' && this._state.requestId === requestId;
  }

  /**
   * The monitor does not list the request. Returns whether it was refused after the Jupyter server had taken it: nobody
   * tells this page of that, but everything the student does is refused.
   */
  private _settleSending(): boolean {
    const now = this._clock.monotonic();
    if (this._host.waiting() || !this._host.refused()) {
      this._refusedSince = null;
      return false;
    }
    this._refusedSince ??= now;
    if (now - this._refusedSince <= FORGOTTEN_MS) {
      return false;
    }
    this._set(NONE);
    return true;
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
    this._restoredSince = null;
    this._keep(before.requestId);
    if (!isUnended(state.phase)) {
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

  private _keep(requestBefore: string | null): void {
    const { phase, requestId } = this._state;
    if (requestId !== null && isUnended(phase)) {
      this._kept.keep({ ...this._state, requestId }, this._cancellations.get(requestId)?.eventId ?? null);
      const { course, notebook } = this._listed.find(listed => listed.request_id === requestId) ?? {};
      if (notebook) {
        this._kept.belong(requestId, course ?? null, { ...notebook, title: notebook.title ?? undefined });
      }
    } else {
      this._kept.forget(requestBefore);
    }
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
  /** By the request's id. */
  private readonly _cancellations = new Map<string, ICancellation>();
  /** The monitor's latest notices of requests. */
  private _listed: readonly INotice[] = [];
  private _refusedSince: number | null = null;
  /** Null unless the request is one of before a reload, which the monitor has not listed since; monotonic, of its first list. */
  private _restoredSince: number | null = null;
}

/** Whether this is the status or phase of a request whose end the student is shown. */
function isEnd(status: string | undefined): boolean {
  return status === 'resolved' || status === 'expired';
}
