import type { IEventStore, IStoredEvent, IStoreSize } from './store';
import { fits } from './store';

const TABLE = 'events';

/**
 * The queue's place in the browser, shared by all tabs of the same Jupyter server. Keys are the events' ids,
 * which sort by time, so that a cursor reads the oldest first and a second write of an event changes nothing.
 */
export class IndexedDbStore implements IEventStore {
  private constructor(private readonly _database: IDBDatabase) {
    // Another tab that upgrades or deletes the database must not wait for us.
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

  append(events: readonly IStoredEvent[]): Promise<void> {
    return this._write(table => events.forEach(event => table.put({ ...event })));
  }

  oldest(count: number, bytes: number): Promise<IStoredEvent[]> {
    return new Promise((resolve, reject) => {
      const batch: IStoredEvent[] = [];
      const request = this._table('readonly').openCursor();
      request.onerror = () => reject(request.error ?? new Error('IndexedDB could not be read'));
      request.onsuccess = () => {
        const cursor = request.result;
        const event = cursor?.value as IStoredEvent | undefined;
        if (!cursor || !event || !fits(batch, event, count, bytes)) {
          resolve(batch);
          return;
        }
        batch.push(event);
        cursor.continue();
      };
    });
  }

  remove(ids: readonly string[]): Promise<void> {
    return this._write(table => ids.forEach(id => table.delete(id)));
  }

  size(): Promise<IStoreSize> {
    return new Promise((resolve, reject) => {
      const size = { count: 0, bytes: 0 };
      const request = this._table('readonly').openCursor();
      request.onerror = () => reject(request.error ?? new Error('IndexedDB could not be read'));
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) {
          resolve(size);
          return;
        }
        size.count++;
        size.bytes += (cursor.value as IStoredEvent).bytes;
        cursor.continue();
      };
    });
  }

  private _write(change: (table: IDBObjectStore) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const transaction = this._database.transaction(TABLE, 'readwrite');
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB refused the write'));
      transaction.onerror = () => reject(transaction.error ?? new Error('IndexedDB refused the write'));
      change(transaction.objectStore(TABLE));
    });
  }

  private _table(mode: IDBTransactionMode): IDBObjectStore {
    return this._database.transaction(TABLE, mode).objectStore(TABLE);
  }
}
