import type { IEncodedEvent, IEventSink } from '../events/session';
import type { IEventTraits } from '../events/types';
import { TRAITS } from '../events/types';
import type { IClock, IMoment } from '../runtime/clock';
import type { FaultGuard } from '../runtime/guard';
import type { IRecentEvent, IRefusal } from '../tokens';
import type { INotice, ITransport, SendResult } from '../transport/transport';
import { Backoff } from './backoff';
import { Outcomes, problemOf } from './outcomes';
import { LastRequests } from './last_requests';
import { LatestEvents } from './latest';
import { HANDED_BYTES, OpenRuns } from './open_runs';
import { SendSchedule } from './schedule';
import type { IBoundedStoreOptions } from './store';
import { BoundedStore, RecentEvents } from './store';
import { BODY_BYTES, EVENT_EXTRA_BYTES, WaitClock } from './waits';

/**
 * `ok`: the monitor has the events. `spooled`: the Jupyter server keeps them. `unavailable`: this browser keeps them.
 * `off`: there is no monitor, or it is switched off.
 */
export type Connection = 'ok' | 'spooled' | 'unavailable' | 'off';

/**
 * Runs `action` when no other tab of this Jupyter server is sending: waits for one that is, and resolves to false when
 * that takes too long. Two tabs that send the same events do no harm; it only costs requests.
 */
export type SendLock = (action: () => Promise<void>) => Promise<boolean>;

export const BATCH_EVENTS = 200;
export const BATCH_BYTES = 900 * 1024;
/** How long an urgent event waits for others: the start and the end of a quick run are one request. */
export const LINGER_MS = 100;
/** How long other events wait for an urgent one to be sent with. */
export const BATCH_DELAY_MS = 10_000;
/**
 * How long an open run waits for events to be handed over with. What runs at once, or is queued behind a run that ends
 * soon, so costs no request of its own.
 */
export const HAND_OVER_MS = 1000;
/** Pause before the next attempt to send while another tab of this Jupyter server is sending. */
const OTHER_TAB_MS = 2000;
/** Interval of requests to a Jupyter server without our server half, or with it switched off. */
export const OFF_PERIOD_MS = 10 * 60_000;

export interface IQueueOptions extends IBoundedStoreOptions {
  transport: ITransport;
  clock: IClock;
  random?: () => number;
  sendLock?: SendLock;
  /** Whether the page is hidden, so that its timers may run once a minute only. */
  hidden?: () => boolean;
  /** The runs to hand over to the server half; absent where it takes none. */
  openRuns?: OpenRuns;
}

/**
 * The queue of events in the browser. An event is handed to the store in the task in which it happened, so that it
 * survives the death of the page's process; batches are read from the store. Urgent events leave within `LINGER_MS`,
 * others with them or after `BATCH_DELAY_MS`, one request at a time.
 * Everything is bounded: what the bounds drop, oldest first, is counted.
 */
export class EventQueue implements IEventSink {
  constructor(options: IQueueOptions) {
    this._store = new BoundedStore(options);
    this._transport = options.transport;
    this._clock = options.clock;
    this._guard = options.guard;
    this._outcomes = new Outcomes(options.clock);
    this._backoff = new Backoff(options.random);
    this._waits = new WaitClock(options.clock);
    this._sendLock = options.sendLock ?? (async action => (await action(), true));
    this._hidden = options.hidden ?? (() => false);
    this._openRuns = options.openRuns ?? new OpenRuns(options.clock);
    this._lastRequests = new LastRequests(this._recent, this._openRuns, this._waits, this._transport);
    this._openRuns.onOpened = () => this._schedule.within(HAND_OVER_MS);
    this._schedule = new SendSchedule(
      options.clock,
      options.guard,
      () => this._drainLocked(),
      () => this._pause(0)
    );
  }

  /** Called after each request with its notices; `complete` when these are all notices that the monitor has. */
  onNotices: ((notices: readonly INotice[], complete: boolean) => void) | null = null;

  /** Called with the ids of events that the monitor rejected. */
  onRejected: ((ids: readonly string[]) => void) | null = null;

  /** Called with the ids of events that were deleted unsent because the queue was full. */
  onDropped: ((ids: readonly string[]) => void) | null = null;

  /** Called when the connection or a count may have changed. */
  onChange: (() => void) | null = null;

  get connection(): Connection {
    return this._connection;
  }

  /** Events that wait in this browser, as far as this tab knows. */
  get queued(): number {
    return this._store.count + this._buffer.length;
  }

  /** Events that this tab dropped because the queue was full. */
  get dropped(): number {
    return this._dropped;
  }

  /** Events that the monitor rejected. */
  get rejected(): number {
    return this._rejected;
  }

  /** What is not recorded at the moment, and what was lost lately. */
  get refusals(): readonly IRefusal[] {
    return this._outcomes.refusals;
  }

  /** The code of what must be changed before events can be sent or recorded, or null. */
  get problem(): string | null {
    return this._problem;
  }

  /** Whether events that wait are lost with the page. */
  get volatile(): boolean {
    return this._store.volatile;
  }

  /** The latest events, newest first. */
  get latest(): readonly IRecentEvent[] {
    return this._latest.events;
  }

  /** Whether an event of this type waits in this tab; a second heartbeat would add no information. */
  holds(type: string): boolean {
    return this._recent.holds(type, this._clock.monotonic());
  }

  /** Sends the events that an earlier page stored. */
  start(): void {
    this._guard.watch(this._measure().then(() => (this.queued > 0 ? this._schedule.within(LINGER_MS) : undefined)));
  }

  /** Takes an event, stores it, and sends it with others: soon if its type is urgent. */
  push(taken: IEncodedEvent): void {
    if (this._disposed) {
      return;
    }
    const event = { made: this._waits.now(), ...taken };
    this._buffer.push(event);
    this._recent.add(event, this._clock.monotonic());
    this._latest.add(event);
    this._guard.watch(this._persist());
    this._schedule.within(this.queued >= BATCH_EVENTS ? 0 : this._lingerOf(event));
  }

  moment(): IMoment {
    return this._waits.now();
  }

  /** Requests the notices with an empty batch. */
  async poll(): Promise<void> {
    if (this._disposed || this._clock.monotonic() < this._retryAt) {
      return;
    }
    const result = await this._transport.send('{"events":[]}', 0, false);
    if (result.kind === 'answer') {
      this._outcomes.answered(result);
      this._applyNotices(result.notices, true);
      if (this._connection !== 'off' && this.queued > 0) {
        this._schedule.resume();
        this._schedule.within(0);
      }
    } else if (result.kind === 'missing') {
      this._switchOff(false);
    } else {
      this._retryAt = this._clock.monotonic() + (result.kind === 'unavailable' ? result.retryAfterMs : 0);
      this._setConnection('unavailable', problemOf(result.reason));
    }
  }

  /** Leaves the pause between two requests to a monitor that is off, and requests the notices now. */
  async reconnect(): Promise<void> {
    this._schedule.resume();
    await this.poll();
  }

  /** The page is being hidden or left: sends one last request that may outlive it, and stores the rest. */
  flushOnHide(): void {
    this._guard.watch(this._persist());
    if (this._connection === 'off') {
      return;
    }
    const sent = this._lastRequests.send()?.then(async ({ batch, result }) => {
      if (result.kind === 'answer') {
        await this._applyResults(batch, result);
      }
    });
    if (sent) {
      this._guard.watch(sent);
    }
  }

  /** Stops all timers. What is stored stays for the next page. */
  dispose(): void {
    this._disposed = true;
    this._schedule.stop();
  }

  private _lingerOf(event: IEncodedEvent): number {
    if (traitsOf(event)?.urgent) {
      return LINGER_MS;
    }
    // Of a hidden page only heartbeats remain, and a timer that a throttled timer started may take a minute.
    return this._hidden() ? 0 : BATCH_DELAY_MS;
  }

  private async _drainLocked(): Promise<void> {
    await this._persist();
    const locked = await this._sendLock(() => this._drain());
    if (!locked) {
      await this._measure();
      this._schedule.within(OTHER_TAB_MS);
    }
  }

  private async _drain(): Promise<void> {
    let limit = this._most;
    // Events that are pushed while a request is answered have a linger of their own.
    let left = this._store.count;
    while (!this._disposed && (left > 0 || this._openRuns.waiting)) {
      if (this._schedule.pausing) {
        this._schedule.within(0);
        return;
      }
      const batch = await this._store.oldest(limit, BATCH_BYTES);
      const runs = this._openRuns.take(HANDED_BYTES);
      if (batch.length === 0 && runs.ids.length === 0) {
        break;
      }
      const result = await this._transport.send(this._waits.bodyOf(batch, runs.json), batch.length, false);
      this._openRuns.answered(runs.ids, result.kind === 'answer');
      switch (result.kind) {
        case 'answer': {
          const again = await this._applyResults(batch, result);
          if (this._connection === 'off') {
            return;
          }
          if (again) {
            this._pause(0);
            return;
          }
          this._backoff.reset();
          limit = this._most;
          left -= batch.length;
          break;
        }
        case 'denied':
          await this._forget(batch);
          this._lose(batch, result.reason);
          left -= batch.length;
          break;
        case 'refused':
          if (runs.ids.length > 0) {
            this._openRuns.stop();
            break;
          }
          if (this._waits.omitWaits(result.reason)) {
            break;
          }
          // The batch is rejected because of one of its events: halve it until that one is alone.
          if (batch.length === 1) {
            await this._forget(batch);
            this._lose(batch, result.reason);
            left--;
          } else {
            limit = Math.ceil(batch.length / 2);
          }
          break;
        case 'missing':
          this._switchOff(false);
          return;
        default:
          if (result.tooLarge) {
            // Something between takes less than the server half.
            this._most = Math.max(1, Math.ceil(batch.length / 2));
          }
          this._setConnection('unavailable', problemOf(result.reason));
          this._pause(result.retryAfterMs);
          return;
      }
    }
    await this._measure();
    if (this._store.count > 0) {
      // Of another tab, which may be closed by then.
      this._schedule.within(BATCH_DELAY_MS);
    }
  }

  /** Removes what was accepted or rejected. Returns whether something is to be sent again. */
  private async _applyResults(
    batch: readonly IEncodedEvent[],
    answer: Extract<SendResult, { kind: 'answer' }>
  ): Promise<boolean> {
    const done = batch.filter((_, index) => answer.results[index]?.status !== 'retry');
    await this._forget(done);
    this._outcomes.answered(answer);
    this._reportRejected(batch.filter((_, index) => answer.results[index]?.status === 'rejected'));
    this._applyNotices(answer.notices, batch.some(event => traitsOf(event)?.notices));
    return done.length < batch.length;
  }

  private _reportRejected(events: readonly IEncodedEvent[]): void {
    if (events.length > 0) {
      this._rejected += events.length;
      const ids = events.map(event => event.id);
      this._latest.refuse(ids);
      this.onRejected?.(ids);
    }
  }

  private _lose(events: readonly IEncodedEvent[], reason: string): void {
    this._outcomes.lose(reason, events.length);
    this._reportRejected(events);
  }

  /** @param received - null where the monitor does not know: an empty list would mean that there are none */
  private _applyNotices(received: readonly INotice[] | null, asked: boolean): void {
    const notices = received ?? [];
    const off = notices.find(notice => notice.kind === 'off');
    if (off) {
      this._problem = off.reason ?? null;
      this._switchOff(true);
      return;
    }
    const spooled = notices.find(notice => notice.kind === 'spooled');
    this._setConnection(spooled ? 'spooled' : 'ok', spooled?.reason);
    this.onNotices?.(notices, received !== null && (asked || received.length > 0) && !spooled);
  }

  private _setConnection(connection: Connection, problem: string | null = null): void {
    this._connection = connection;
    this._problem = problem;
    this.onChange?.();
  }

  /** @param forget - the monitor itself is switched off: without a monitor nothing that a student does is kept */
  private _switchOff(forget: boolean): void {
    // Check again later with an empty batch: the monitor may have been installed meanwhile.
    this._schedule.pause(OFF_PERIOD_MS, () => {
      this._schedule.resume();
      this._guard.watch(this.poll());
    });
    this._setConnection('off', forget ? this._problem : null);
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
      await this._store.remove(batch);
    }
    await this._measure();
  }

  private _pause(atLeast: number): void {
    this._retryAt = this._clock.monotonic() + atLeast;
    this._schedule.pause(this._backoff.next(atLeast));
  }

  private _persist(): Promise<void> {
    this._persisting = this._persisting.then(() => this._storeBuffer()).catch(error => this._guard.note(error));
    return this._persisting;
  }

  private async _storeBuffer(): Promise<void> {
    const events = this._buffer.splice(0);
    if (events.length > 0) {
      const dropped = await this._store.append(events);
      dropped.forEach(event => this._recent.delete(event.id));
      this._dropped += dropped.length;
      this._outcomes.lose('queue_full', dropped.length);
      if (dropped.length > 0) {
        // A request for help, or its cancellation, may be among them.
        this.onDropped?.(dropped.map(event => event.id));
      }
      this.onChange?.();
    }
  }

  private async _forget(events: readonly IEncodedEvent[]): Promise<void> {
    await this._store.remove(events);
    events.forEach(event => this._recent.delete(event.id));
    this.onChange?.();
  }

  private async _measure(): Promise<void> {
    await this._store.measure();
    this.onChange?.();
  }

  private readonly _store: BoundedStore;
  private readonly _transport: ITransport;
  private readonly _clock: IClock;
  private readonly _guard: FaultGuard;
  private readonly _backoff: Backoff;
  private readonly _sendLock: SendLock;
  private readonly _waits: WaitClock;
  private readonly _hidden: () => boolean;
  private readonly _openRuns: OpenRuns;
  private readonly _lastRequests: LastRequests;
  private readonly _schedule: SendSchedule;
  private readonly _buffer: IEncodedEvent[] = [];
  private readonly _recent = new RecentEvents(BODY_BYTES, EVENT_EXTRA_BYTES);
  private readonly _latest = new LatestEvents();
  /** Events in a request: fewer than `BATCH_EVENTS` where a proxy takes less. */
  private _most = BATCH_EVENTS;
  private _dropped = 0;
  private _rejected = 0;
  private _problem: string | null = null;
  private readonly _outcomes: Outcomes;
  private _connection: Connection = 'ok';
  /** When the server allows the next request, by its own Retry-After; milliseconds of the monotonic clock. */
  private _retryAt = 0;
  private _persisting: Promise<void> = Promise.resolve();
  private _disposed = false;
}

/** The traits of the event's type; undefined for a type that this version does not know. */
function traitsOf(event: IEncodedEvent): IEventTraits | undefined {
  return (TRAITS as Readonly<Record<string, IEventTraits | undefined>>)[event.type];
}
