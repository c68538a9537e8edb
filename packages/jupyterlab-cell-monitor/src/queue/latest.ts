import type { IMoment } from '../runtime/clock';
import type { IRecentEvent } from '../tokens';

/** How many events are kept. */
const KEPT = 20;

interface ILatestEvent extends IRecentEvent {
  /** When it happened, by the page's monotonic clock. */
  readonly at: number;
}

/** The latest events of this page, for the student to read, and whether the monitor refused them. */
export class LatestEvents {
  /** Newest first, by the times at which they happened: a selection is reported later than the run that follows it. */
  get events(): readonly IRecentEvent[] {
    return this._events;
  }

  add(event: { readonly id: string; readonly json: string; readonly made: Pick<IMoment, 'monotonic'> }): void {
    const at = event.made.monotonic;
    const newer = this._events.filter(other => other.at > at);
    const older = this._events.slice(newer.length);
    this._events = [...newer, { id: event.id, json: event.json, refused: false, at }, ...older].slice(0, KEPT);
  }

  /** These events are not recorded; ids of older ones are ignored. */
  refuse(ids: readonly string[]): void {
    this._events = this._events.map(event => (ids.includes(event.id) ? { ...event, refused: true } : event));
  }

  private _events: readonly ILatestEvent[] = [];
}
