import type { IEncodedEvent } from '../events/session';
import type { FaultGuard } from '../runtime/guard';

export interface IStoreSize {
  count: number;
  bytes: number;
}

/** Keeps events until the server has answered for them. */
export interface IEventStore {
  /** Adds events; one that is stored already is unchanged. */
  append(events: readonly IEncodedEvent[]): Promise<void>;
  /** The oldest events: at most `count`, and at most `bytes` together unless the first alone is larger. */
  oldest(count: number, bytes: number): Promise<IEncodedEvent[]>;
  remove(ids: readonly string[]): Promise<void>;
  size(): Promise<IStoreSize>;
}

/** A record of the browser's database. Those written before the type was a field of the record have none. */
type StoredRecord = Omit<IEncodedEvent, 'type'> & { readonly type?: string };

const TABLE = 'events';

/**
 * The queue in the browser's database, shared by all tabs of the same Jupyter server. Keys are the events' ids,
 * which sort by time, so that a cursor reads the oldest first and a second write of an event changes nothing.
 */
export class IndexedDbStore implements IEventStore {
  private constructor(private readonly _database: IDBDatabase) {
    // Do not block another tab that upgrades or deletes the database.
    this._database.onversionchange = () => this._database.close();
  }

  /**
   * @param name - one database per Jupyter server: on a shared computer two students must not share a queue
   * @throws when the browser has no IndexedDB or forbids it, as private windows may
   */
  static open(name: string, factory: IDBFactory = indexedDB): Promise<IndexedDbStore> {
    return new Promise((resolve, reject) => {
      const request = factory.open(name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(TABLE, { keyPath: 'id' });
      };
      request.onsuccess = () => resolve(new IndexedDbStore(request.result));
      request.onerror = () => reject(request.error ?? new Error('IndexedDB could not be opened'));
      request.onblocked = () => reject(new Error('IndexedDB is blocked by another tab'));
    });
  }

  append(events: readonly IEncodedEvent[]): Promise<void> {
    return this._write(table => events.forEach(event => table.put({ ...event })));
  }

  oldest(count: number, bytes: number): Promise<IEncodedEvent[]> {
    const batch: IEncodedEvent[] = [];
    return this._read(record => {
      const event = withType(record);
      const fit = fits(batch, event, count, bytes);
      if (fit) {
        batch.push(event);
      }
      return fit;
    }).then(() => batch);
  }

  remove(ids: readonly string[]): Promise<void> {
    return this._write(table => ids.forEach(id => table.delete(id)));
  }

  size(): Promise<IStoreSize> {
    const size = { count: 0, bytes: 0 };
    return this._read(record => {
      size.count++;
      size.bytes += record.bytes;
      return true;
    }).then(() => size);
  }

  /** Calls `visit` with the records in the order of their ids until it returns false. */
  private _read(visit: (record: StoredRecord) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = this._database.transaction(TABLE, 'readonly').objectStore(TABLE).openCursor();
      request.onerror = () => reject(request.error ?? new Error('IndexedDB could not be read'));
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor || !visit(cursor.value as StoredRecord)) {
          resolve();
          return;
        }
        cursor.continue();
      };
    });
  }

  /**
   * Writes in one transaction. It is committed when the browser's own process has it, without waiting for the disk:
   * it survives the death of the page's process, and costs a few milliseconds instead of a synchronisation.
   */
  private _write(change: (table: IDBObjectStore) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const transaction = this._database.transaction(TABLE, 'readwrite', { durability: 'relaxed' });
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB refused the write'));
      transaction.onerror = () => reject(transaction.error ?? new Error('IndexedDB refused the write'));
      change(transaction.objectStore(TABLE));
      // Without the round trip for the requests' own results.
      transaction.commit();
    });
  }
}

function withType(record: StoredRecord): IEncodedEvent {
  return record.type === undefined ? { ...record, type: typeOf(record.json) } : (record as IEncodedEvent);
}

/** The type that an event's JSON names; empty when it cannot be read. */
function typeOf(json: string): string {
  try {
    const event = JSON.parse(json) as { type?: unknown } | null;
    return typeof event?.type === 'string' ? event.type : '';
  } catch {
    return '';
  }
}

/** Whether `next` may join `batch`; the first event always may. */
function fits(batch: readonly IEncodedEvent[], next: IEncodedEvent, count: number, bytes: number): boolean {
  if (batch.length === 0) {
    return true;
  }
  return batch.length < count && bytesOf(batch) + next.bytes <= bytes;
}

/** For browsers without IndexedDB: what it holds is lost with the page. */
export class MemoryStore implements IEventStore {
  append(events: readonly IEncodedEvent[]): Promise<void> {
    for (const event of events) {
      if (!this._events.has(event.id)) {
        this._events.set(event.id, event);
      }
    }
    return Promise.resolve();
  }

  oldest(count: number, bytes: number): Promise<IEncodedEvent[]> {
    const batch: IEncodedEvent[] = [];
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

  private readonly _events = new Map<string, IEncodedEvent>();
}

/**
 * A store that is still being opened. JupyterLab's start must not wait for the browser's disk; events that come
 * meanwhile wait for it. When it cannot be opened, or not in time, a store in memory replaces it.
 */
export class OpeningStore implements IEventStore {
  /** @param noteFailure - called with the reason when the store in memory is used instead */
  constructor(opening: Promise<IEventStore>, timeoutMs: number, noteFailure: (error: unknown) => void) {
    this._store = new Promise<IEventStore>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the browser did not open its store')), timeoutMs);
      opening.then(resolve, reject).finally(() => clearTimeout(timer));
    }).catch(error => {
      noteFailure(error);
      return new MemoryStore();
    });
  }

  async append(events: readonly IEncodedEvent[]): Promise<void> {
    return (await this._store).append(events);
  }

  async oldest(count: number, bytes: number): Promise<IEncodedEvent[]> {
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

export interface IBoundedStoreOptions {
  store: IEventStore;
  guard: FaultGuard;
  maxEvents?: number;
  maxBytes?: number;
}

/**
 * A store with an upper bound in events and in bytes; the oldest are dropped. A store that refuses a write is replaced
 * by one in memory, so that at least this page's events are sent.
 */
export class BoundedStore {
  constructor(options: IBoundedStoreOptions) {
    this._store = options.store;
    this._guard = options.guard;
    this._maxEvents = options.maxEvents ?? 5000;
    this._maxBytes = options.maxBytes ?? 16 * 1024 * 1024;
  }

  /** Whether the store was replaced by one that is lost with the page. */
  get volatile(): boolean {
    return this._volatile;
  }

  /** Events in the store, as far as this tab knows: other tabs write to it too. */
  get count(): number {
    return this._size.count;
  }

  /** Adds events. Returns those that were dropped to stay within the bounds. */
  async append(events: readonly IEncodedEvent[]): Promise<readonly IEncodedEvent[]> {
    try {
      await this._store.append(events);
    } catch (error) {
      // A full disk or a private window.
      this._guard.note(error);
      this._store = new MemoryStore();
      this._volatile = true;
      await this._store.append(events);
    }
    this._size.count += events.length;
    this._size.bytes += bytesOf(events);
    if (!this._full) {
      return [];
    }
    await this.measure();
    return this._dropOldest();
  }

  oldest(count: number, bytes: number): Promise<IEncodedEvent[]> {
    return this._store.oldest(count, bytes);
  }

  async remove(events: readonly IEncodedEvent[]): Promise<void> {
    await this._store.remove(events.map(event => event.id));
    this._size.count = Math.max(0, this._size.count - events.length);
    this._size.bytes = Math.max(0, this._size.bytes - bytesOf(events));
  }

  /** Counts the stored events, including those of other tabs. */
  async measure(): Promise<void> {
    this._size = await this._store.size();
  }

  private get _full(): boolean {
    return this._size.count > this._maxEvents || this._size.bytes > this._maxBytes;
  }

  private async _dropOldest(): Promise<readonly IEncodedEvent[]> {
    const dropped: IEncodedEvent[] = [];
    while (this._full) {
      const excess = Math.max(1, this._size.count - this._maxEvents);
      const oldest = await this._store.oldest(
        Math.min(excess, 500),
        this._size.count > this._maxEvents ? Number.MAX_SAFE_INTEGER : this._size.bytes - this._maxBytes
      );
      if (oldest.length === 0) {
        break;
      }
      await this.remove(oldest);
      dropped.push(...oldest);
    }
    return dropped;
  }

  private _store: IEventStore;
  private readonly _guard: FaultGuard;
  private readonly _maxEvents: number;
  private readonly _maxBytes: number;
  private _volatile = false;
  private _size: IStoreSize = { count: 0, bytes: 0 };
}

function bytesOf(events: readonly IEncodedEvent[]): number {
  return events.reduce((sum, event) => sum + event.bytes, 0);
}

/** Browsers limit keepalive requests to 64 KiB in total; headers and framing need a part of it. */
export const KEEPALIVE_BYTES = 60 * 1024;

/** After this time another tab may have sent an event unknown to this one. */
const CERTAIN_MS = 60_000;

interface IRecentEvent {
  readonly event: IEncodedEvent;
  /** When it was pushed, in milliseconds of the monotonic clock. */
  readonly at: number;
  inLastRequest: boolean;
}

/**
 * The newest unanswered events of this tab, for the moment the page is left, when no store can be read any more:
 * as many as one last request may carry.
 */
export class RecentEvents {
  /**
   * @param _overhead - bytes of a request body without events
   * @param _extra - bytes that each event adds to a body besides its own
   */
  constructor(
    private readonly _overhead: number,
    private readonly _extra: number
  ) {}

  add(event: IEncodedEvent, now: number): void {
    this._events.set(event.id, { event, at: now, inLastRequest: false });
    let bytes = this._overhead;
    this._events.forEach(recent => (bytes += recent.event.bytes + this._extra));
    for (const [id, recent] of this._events) {
      if (bytes <= KEEPALIVE_BYTES) {
        break;
      }
      bytes -= recent.event.bytes + this._extra;
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

  /** Returns those that are not in a last request yet, and marks them as being in one until `release`. */
  takeForLastRequest(): IEncodedEvent[] {
    const taken = [...this._events.values()].filter(recent => !recent.inLastRequest);
    taken.forEach(recent => (recent.inLastRequest = true));
    return taken.map(recent => recent.event);
  }

  /** The last request with these events has ended, with or without an answer. */
  release(events: readonly IEncodedEvent[]): void {
    for (const event of events) {
      const recent = this._events.get(event.id);
      if (recent) {
        recent.inLastRequest = false;
      }
    }
  }

  private readonly _events = new Map<string, IRecentEvent>();
}
