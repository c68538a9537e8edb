/** Interval of heartbeats of a visible page. */
export const HEARTBEAT_MS = 15_000;

/**
 * Interval of heartbeats of a hidden page: a student who looks something up in another tab has not left. Browsers may
 * run the timers of hidden pages once a minute only; such a timer must send a heartbeat every time.
 */
export const HIDDEN_HEARTBEAT_MS = 45_000;

/** Decides, each time the timer fires, whether to send a heartbeat. */
export class HeartbeatSchedule {
  /** Whether a heartbeat is due; `now` in milliseconds since 1970. */
  due(visible: boolean, now: number): boolean {
    const since = now - this._sentAt;
    // A clock that was set back must not stop the heartbeats.
    return visible || since < 0 || since >= HIDDEN_HEARTBEAT_MS;
  }

  sent(now: number): void {
    this._sentAt = now;
  }

  private _sentAt = Number.NEGATIVE_INFINITY;
}
