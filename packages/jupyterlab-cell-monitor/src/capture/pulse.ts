/** How often a page that is looked at says that it is there. */
export const HEARTBEAT_MS = 15_000;

/**
 * The same of a hidden page: a student who looks something up in another tab has not left. Browsers may let its timer
 * run once a minute only, and none of those runs may be skipped.
 */
export const HIDDEN_HEARTBEAT_MS = 45_000;

/** Decides, each time the timer runs, whether a heartbeat is due. */
export class Pulse {
  due(visible: boolean, now: number): boolean {
    const since = now - this._beatAt;
    // A clock that was set back must not silence the page.
    return visible || since < 0 || since >= HIDDEN_HEARTBEAT_MS;
  }

  beat(now: number): void {
    this._beatAt = now;
  }

  private _beatAt = Number.NEGATIVE_INFINITY;
}
