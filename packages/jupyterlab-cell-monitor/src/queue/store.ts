/** An event that waits to be sent. */
export interface IStoredEvent {
  /** The event's id; ids sort by the time they were made. */
  readonly id: string;
  readonly json: string;
  readonly bytes: number;
}

export interface IStoreSize {
  count: number;
  bytes: number;
}

/** Keeps events until the server has answered for them. */
export interface IEventStore {
  /** Adds events; one that is there already stays as it is. */
  append(events: readonly IStoredEvent[]): Promise<void>;
  /** The oldest events: at most `count`, and at most `bytes` together unless the first alone is larger. */
  oldest(count: number, bytes: number): Promise<IStoredEvent[]>;
  remove(ids: readonly string[]): Promise<void>;
  size(): Promise<IStoreSize>;
}

/** Adds to `batch` while the bounds allow; false when it is full. */
export function fits(batch: readonly IStoredEvent[], next: IStoredEvent, count: number, bytes: number): boolean {
  if (batch.length === 0) {
    return true;
  }
  return batch.length < count && batch.reduce((sum, event) => sum + event.bytes, next.bytes) <= bytes;
}

/**
 * A store that is still being opened. JupyterLab's start must not wait for the browser's disk; events that come
 * meanwhile wait here. When it cannot be opened, or not in time, a store in memory takes its place.
 */
export class OpeningStore implements IEventStore {
  /** @param noteFailure - called with the reason when the memory had to step in */
  constructor(opening: Promise<IEventStore>, timeoutMs: number, noteFailure: (error: unknown) => void) {
    this._store = new Promise<IEventStore>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the browser did not open its store')), timeoutMs);
      opening.then(resolve, reject).finally(() => clearTimeout(timer));
    }).catch(error => {
      noteFailure(error);
      return new MemoryStore();
    });
  }

  async append(events: readonly IStoredEvent[]): Promise<void> {
    return (await this._store).append(events);
  }

  async oldest(count: number, bytes: number): Promise<IStoredEvent[]> {
    return (await this._store).oldest(count, bytes);
  }

  async remove(ids: readonly string[]): Promise<void> {
    return (await this._store).remove(ids);
  }

  async size(): Promise<IStoreSize> {
    return (await this._store).size();
  }

  private readonly _store: Promise<IEventStore>;
}

/** The twin for browsers without IndexedDB: what it holds is gone with the page. */
export class MemoryStore implements IEventStore {
  append(events: readonly IStoredEvent[]): Promise<void> {
    for (const event of events) {
      if (!this._events.has(event.id)) {
        this._events.set(event.id, event);
      }
    }
    return Promise.resolve();
  }

  oldest(count: number, bytes: number): Promise<IStoredEvent[]> {
    const batch: IStoredEvent[] = [];
    for (const event of [...this._events.values()].sort((a, b) => (a.id < b.id ? -1 : 1))) {
      if (!fits(batch, event, count, bytes)) {
        break;
      }
      batch.push(event);
    }
    return Promise.resolve(batch);
  }

  remove(ids: readonly string[]): Promise<void> {
    ids.forEach(id => this._events.delete(id));
    return Promise.resolve();
  }

  size(): Promise<IStoreSize> {
    let bytes = 0;
    this._events.forEach(event => (bytes += event.bytes));
    return Promise.resolve({ count: this._events.size, bytes });
  }

  private readonly _events = new Map<string, IStoredEvent>();
}
