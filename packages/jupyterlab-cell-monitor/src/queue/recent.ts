import type { IStoredEvent } from './store';

/** What a browser lets outlive a page in all is 64 KiB; headers and framing need a little of it. */
export const KEEPALIVE_BYTES = 60 * 1024;

/** A stored event with its type, as it is pushed. */
export interface IPushedEvent extends IStoredEvent {
  readonly type?: string;
}

interface IRecent {
  readonly event: IPushedEvent;
  /** When it was pushed, in milliseconds since 1970. */
  readonly at: number;
  leaving: boolean;
}

/** After this time another tab may have sent an event without this one's knowing. */
const CERTAIN_MS = 60_000;

/**
 * The newest unanswered events, kept at hand for the moment the page is left, when no store can be read any more:
 * as many as one last request may carry.
 */
export class RecentEvents {
  /** @param overhead - bytes of an empty request body */
  constructor(private readonly _overhead: number) {}

  add(event: IPushedEvent, now: number): void {
    this._events.set(event.id, { event, at: now, leaving: false });
    let bytes = this._overhead;
    this._events.forEach(recent => (bytes += recent.event.bytes + 1));
    for (const [id, recent] of this._events) {
      if (bytes <= KEEPALIVE_BYTES) {
        break;
      }
      bytes -= recent.event.bytes + 1;
      this._events.delete(id);
    }
  }

  delete(id: string): void {
    this._events.delete(id);
  }

  clear(): void {
    this._events.clear();
  }

  /** Whether an event of this type waits, as far as this tab knows. */
  holds(type: string, now: number): boolean {
    return [...this._events.values()].some(recent => recent.event.type === type && recent.at > now - CERTAIN_MS);
  }

  /** Takes those that no last request is carrying yet; they count as carried until `landed`. */
  depart(): IStoredEvent[] {
    const departing = [...this._events.values()].filter(recent => !recent.leaving);
    departing.forEach(recent => (recent.leaving = true));
    return departing.map(recent => recent.event);
  }

  /** The last request that carried these has ended, one way or the other. */
  landed(events: readonly IStoredEvent[]): void {
    for (const event of events) {
      const recent = this._events.get(event.id);
      if (recent) {
        recent.leaving = false;
      }
    }
  }

  private readonly _events = new Map<string, IRecent>();
}
