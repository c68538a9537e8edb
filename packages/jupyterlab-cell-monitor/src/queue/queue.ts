import type { IClock } from '../capture/clock';
import { FaultGuard } from '../capture/guard';
import type { INotice, SendResult } from '../transport/answer';
import { Backoff } from './backoff';
import type { IPushedEvent } from './recent';
import { RecentEvents } from './recent';
import type { IEventStore, IStoredEvent, IStoreSize } from './store';
import { MemoryStore } from './store';

/** Sends one request body. Never throws. */
export interface ITransport {
  /**
   * @param sent - the number of events in `body`
   * @param keepalive - let the request outlive the page; the browser then allows 64 KiB in all
   */
  send(body: string, sent: number, keepalive: boolean): Promise<SendResult>;
}

/** `ok`: the monitor has the events. `spooled`: the Jupyter server keeps them. `away`: this browser keeps them. */
export type Connection = 'ok' | 'spooled' | 'away' | 'off';

/**
 * Runs `action` when no other tab of this Jupyter server is sending; false when one is.
 * Two tabs that send the same events do no harm, it is only waste.
 */
export type TurnTaking = (action: () => Promise<void>) => Promise<boolean>;

export const BATCH_EVENTS = 200;
export const BATCH_BYTES = 900 * 1024;
export const BATCH_DELAY_MS = 2000;
const PERSIST_DELAY_MS = 200;
const BODY_OVERHEAD = '{"events":[]}'.length;
/** How often a Jupyter server without our server half, or one that is switched off, is asked again. */
export const OFF_PERIOD_MS = 10 * 60_000;

export interface IQueueOptions {
  store: IEventStore;
  transport: ITransport;
  clock: IClock;
  guard: FaultGuard;
  random?: () => number;
  takeTurns?: TurnTaking;
  maxEvents?: number;
  maxBytes?: number;
}

/**
 * Events on their way out of the browser. `push` costs a list append; storing, batching and sending follow later.
 * Everything is bounded: what the bounds drop, oldest first, is counted.
 */
export class EventQueue {
  constructor(options: IQueueOptions) {
    this._store = options.store;
    this._transport = options.transport;
    this._clock = options.clock;
    this._guard = options.guard;
    this._backoff = new Backoff(options.random);
    this._takeTurns = options.takeTurns ?? (async action => (await action(), true));
    this._maxEvents = options.maxEvents ?? 5000;
    this._maxBytes = options.maxBytes ?? 16 * 1024 * 1024;
  }

  /** Called after each request with what it told; `complete` when these are all notices that the monitor has. */
  onNotices: ((notices: readonly INotice[], complete: boolean) => void) | null = null;

  /** Called with the ids of events that the monitor refused for good. */
  onRejected: ((ids: readonly string[]) => void) | null = null;

  /** Called when the connection or a count may have changed. */
  onChange: (() => void) | null = null;

  get connection(): Connection {
    return this._connection;
  }

  /** Events that wait in this browser, as far as this tab knows. */
  get queued(): number {
    return this._size.count + this._buffer.length;
  }

  /** Events that this tab dropped because the queue was full. */
  get dropped(): number {
    return this._dropped;
  }

  /** Events that the monitor refused for good. */
  get rejected(): number {
    return this._rejected;
  }

  /** Whether an event of this type waits in this tab; a second heartbeat would say nothing new. */
  holds(type: string): boolean {
    return this._recent.holds(type, this._clock.now());
  }

  /** Looks for what an earlier page left behind and sends it. */
  start(): void {
    this._guard.watch(this._resize().then(() => (this.queued > 0 ? this._schedule(BATCH_DELAY_MS) : undefined)));
  }

  /** Takes an event. An urgent one does not wait for its batch. */
  push(event: IPushedEvent, urgent = false): void {
    if (this._disposed) {
      return;
    }
    this._buffer.push({ id: event.id, json: event.json, bytes: event.bytes });
    this._recent.add(event, this._clock.now());
    if (!this._cancelPersist) {
      this._cancelPersist = this._clock.after(PERSIST_DELAY_MS, () => this._guard.watch(this._persist()));
    }
    if (urgent || this._buffer.length >= BATCH_EVENTS) {
      this._schedule(0);
    } else if (!this._cancelDrain) {
      this._schedule(BATCH_DELAY_MS);
    }
  }

  /** Asks for the notices with an empty batch. */
  async poll(): Promise<void> {
    if (this._disposed || this._clock.now() < this._askedPause) {
      return;
    }
    const result = await this._transport.send('{"events":[]}', 0, false);
    if (result.kind === 'answer') {
      this._heard(result.notices, true);
      if (this._connection !== 'off' && this.queued > 0) {
        this._notBefore = 0;
        this._schedule(0);
      }
    } else if (result.kind === 'missing') {
      this._switchOff(false);
    } else {
      this._askedPause = this._clock.now() + (result.kind === 'away' ? result.retryAfterMs : 0);
      this._connected('away');
    }
  }

  /** The page is being hidden or left: one last request that may outlive it, and the rest into the store. */
  flushOnHide(): void {
    this._guard.watch(this._persist());
    if (this._connection === 'off') {
      return;
    }
    const batch = this._recent.depart();
    if (batch.length === 0) {
      return;
    }
    const sent = this._transport.send(bodyOf(batch), batch.length, true).then(async result => {
      this._recent.landed(batch);
      if (result.kind === 'answer') {
        await this._settle(batch, result);
      }
    });
    this._guard.watch(sent);
  }

  /** Stops all timers. What is stored stays for the next page. */
  dispose(): void {
    this._disposed = true;
    this._cancelPersist?.();
    this._cancelDrain?.();
  }

  private _schedule(delay: number): void {
    if (this._disposed) {
      return;
    }
    const now = this._clock.now();
    // The server's Retry-After and our own backoff hold for urgent events too.
    const at = Math.max(now + delay, this._notBefore);
    if (this._cancelDrain && this._drainAt <= at) {
      return;
    }
    this._cancelDrain?.();
    this._drainAt = at;
    this._cancelDrain = this._clock.after(at - now, () => {
      this._cancelDrain = null;
      this._draining = this._draining
        .then(() => this._drainInTurn())
        .catch(error => {
          this._guard.note(error);
          this._pause(0);
        });
    });
  }

  private async _drainInTurn(): Promise<void> {
    await this._persist();
    const hadTurn = await this._takeTurns(() => this._drain());
    if (!hadTurn) {
      await this._resize();
      this._schedule(BATCH_DELAY_MS);
    }
  }

  private async _drain(): Promise<void> {
    let limit = BATCH_EVENTS;
    while (!this._disposed) {
      if (this._clock.now() < this._notBefore) {
        this._schedule(0);
        return;
      }
      const batch = await this._store.oldest(limit, BATCH_BYTES);
      if (batch.length === 0) {
        await this._resize();
        return;
      }
      const result = await this._transport.send(bodyOf(batch), batch.length, false);
      switch (result.kind) {
        case 'answer': {
          const again = await this._settle(batch, result);
          if (this._connection === 'off') {
            return;
          }
          if (again) {
            this._pause(0);
            return;
          }
          this._backoff.reset();
          limit = BATCH_EVENTS;
          break;
        }
        case 'denied':
          await this._forget(batch);
          this._refused(batch);
          break;
        case 'refused':
          // One of these events spoils the batch: halve it until that one stands alone.
          if (batch.length === 1) {
            await this._forget(batch);
            this._refused(batch);
          } else {
            limit = Math.ceil(batch.length / 2);
          }
          break;
        case 'missing':
          this._switchOff(false);
          return;
        default:
          this._connected('away');
          this._pause(result.retryAfterMs);
          return;
      }
    }
  }

  /** Takes out what was answered for good. Returns whether something is to be sent again. */
  private async _settle(
    batch: readonly IStoredEvent[],
    answer: Extract<SendResult, { kind: 'answer' }>
  ): Promise<boolean> {
    const done = batch.filter((_, index) => answer.results[index]?.status !== 'retry');
    await this._forget(done);
    this._refused(batch.filter((_, index) => answer.results[index]?.status === 'rejected'));
    this._heard(answer.notices, batch.some(asksForNotices));
    return done.length < batch.length;
  }

  private _refused(events: readonly IStoredEvent[]): void {
    if (events.length > 0) {
      this._rejected += events.length;
      this.onRejected?.(events.map(event => event.id));
    }
  }

  /** @param told - null where the monitor does not know: an empty list from it would mean that there are none */
  private _heard(told: readonly INotice[] | null, asked: boolean): void {
    const notices = told ?? [];
    if (notices.some(notice => notice.kind === 'off')) {
      this._switchOff(true);
      return;
    }
    const spooled = notices.some(notice => notice.kind === 'spooled');
    this._connected(spooled ? 'spooled' : 'ok');
    this.onNotices?.(notices, told !== null && (asked || told.length > 0) && !spooled);
  }

  private _connected(connection: Connection): void {
    this._connection = connection;
    this.onChange?.();
  }

  /** @param forget - the monitor itself said so: a computer without a monitor must not hoard what its student does */
  private _switchOff(forget: boolean): void {
    this._cancelDrain?.();
    this._notBefore = this._clock.now() + OFF_PERIOD_MS;
    this._drainAt = this._notBefore;
    // Ask again later with an empty batch: the monitor may have been installed meanwhile.
    this._cancelDrain = this._clock.after(OFF_PERIOD_MS, () => {
      this._cancelDrain = null;
      this._notBefore = 0;
      this._guard.watch(this.poll());
    });
    this._connected('off');
    if (forget) {
      this._guard.watch(this._empty());
    }
  }

  private async _empty(): Promise<void> {
    await this._persist();
    this._recent.clear();
    for (;;) {
      const batch = await this._store.oldest(1000, Number.MAX_SAFE_INTEGER);
      if (batch.length === 0) {
        break;
      }
      await this._store.remove(batch.map(event => event.id));
    }
    await this._resize();
  }

  private _pause(atLeast: number): void {
    const now = this._clock.now();
    const pause = this._backoff.next(atLeast);
    this._notBefore = now + pause;
    this._askedPause = now + atLeast;
    // A batch timer that is due earlier would only find the pause.
    this._cancelDrain?.();
    this._cancelDrain = null;
    this._schedule(pause);
  }

  private _persist(): Promise<void> {
    this._cancelPersist?.();
    this._cancelPersist = null;
    this._persisting = this._persisting.then(() => this._storeBuffer()).catch(error => this._guard.note(error));
    return this._persisting;
  }

  private async _storeBuffer(): Promise<void> {
    const events = this._buffer.splice(0);
    if (events.length === 0) {
      return;
    }
    try {
      await this._store.append(events);
    } catch (error) {
      // A full disk or a private window: go on in memory, so that at least this page's events are sent.
      this._guard.note(error);
      this._store = new MemoryStore();
      await this._store.append(events);
    }
    this._size.count += events.length;
    this._size.bytes += events.reduce((sum, event) => sum + event.bytes, 0);
    if (this._size.count > this._maxEvents || this._size.bytes > this._maxBytes) {
      await this._resize();
      await this._dropOldest();
    }
    this.onChange?.();
  }

  private async _dropOldest(): Promise<void> {
    while (this._size.count > this._maxEvents || this._size.bytes > this._maxBytes) {
      const excess = Math.max(1, this._size.count - this._maxEvents);
      const oldest = await this._store.oldest(
        Math.min(excess, 500),
        this._size.count > this._maxEvents ? Number.MAX_SAFE_INTEGER : this._size.bytes - this._maxBytes
      );
      if (oldest.length === 0) {
        return;
      }
      await this._forget(oldest);
      this._dropped += oldest.length;
    }
  }

  private async _forget(events: readonly IStoredEvent[]): Promise<void> {
    await this._store.remove(events.map(event => event.id));
    for (const event of events) {
      this._recent.delete(event.id);
    }
    this._size.count = Math.max(0, this._size.count - events.length);
    this._size.bytes = Math.max(0, this._size.bytes - events.reduce((sum, event) => sum + event.bytes, 0));
    this.onChange?.();
  }

  private async _resize(): Promise<void> {
    this._size = await this._store.size();
    this.onChange?.();
  }

  private _store: IEventStore;
  private readonly _transport: ITransport;
  private readonly _clock: IClock;
  private readonly _guard: FaultGuard;
  private readonly _backoff: Backoff;
  private readonly _takeTurns: TurnTaking;
  private readonly _maxEvents: number;
  private readonly _maxBytes: number;
  private readonly _buffer: IStoredEvent[] = [];
  private readonly _recent = new RecentEvents(BODY_OVERHEAD);
  private _size: IStoreSize = { count: 0, bytes: 0 };
  private _dropped = 0;
  private _rejected = 0;
  private _connection: Connection = 'ok';
  private _notBefore = 0;
  private _askedPause = 0;
  private _drainAt = 0;
  private _cancelDrain: (() => void) | null = null;
  private _cancelPersist: (() => void) | null = null;
  private _persisting: Promise<void> = Promise.resolve();
  private _draining: Promise<void> = Promise.resolve();
  private _disposed = false;
}

/** The monitor adds its notices to an answer when the batch holds one of these. */
function asksForNotices(event: IStoredEvent): boolean {
  return /"type":"(?:heartbeat|help_)/.test(event.json.slice(0, 120));
}

function bodyOf(events: readonly IStoredEvent[]): string {
  return `{"events":[${events.map(event => event.json).join(',')}]}`;
}
