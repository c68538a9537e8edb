import type { IRecentEvent } from '../tokens';

/** How many events are kept. */
const KEPT = 20;

/** The latest events of this page, for the student to read, and whether the monitor refused them. */
export class LatestEvents {
  /** Newest first. */
  get events(): readonly IRecentEvent[] {
    return this._events;
  }

  add(event: { readonly id: string; readonly json: string }): void {
    this._events = [{ id: event.id, json: event.json, refused: false }, ...this._events].slice(0, KEPT);
  }

  /** These events are not recorded; ids of older ones are ignored. */
  refuse(ids: readonly string[]): void {
    this._events = this._events.map(event => (ids.includes(event.id) ? { ...event, refused: true } : event));
  }

  private _events: readonly IRecentEvent[] = [];
}
