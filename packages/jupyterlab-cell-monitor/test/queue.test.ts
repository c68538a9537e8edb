import 'fake-indexeddb/auto';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { v7 as uuid7 } from 'uuid';
import type { IEncodedEvent } from '../src/events/session';
import { FaultGuard } from '../src/runtime/guard';
import { Backoff } from '../src/queue/backoff';
import { BATCH_BYTES, EventQueue, OFF_PERIOD_MS } from '../src/queue/queue';
import type { IEventStore } from '../src/queue/store';
import { IndexedDbStore, KEEPALIVE_BYTES, MemoryStore, OpeningStore } from '../src/queue/store';
import type { INotice, ITransport, SendResult } from '../src/transport/transport';
import { settle, StillClock } from './clock';

interface IRequest {
  at: number;
  ids: string[];
  bytes: number;
  keepalive: boolean;
}

/** A fake monitor: stores what it accepts, and answers as the test sets it. */
class FakeMonitor implements ITransport {
  constructor(private readonly _clock: StillClock) {}

  readonly requests: IRequest[] = [];
  readonly stored: string[] = [];
  answer: (ids: string[]) => SendResult | null = () => null;

  async send(body: string, sent: number, keepalive: boolean): Promise<SendResult> {
    const { events } = JSON.parse(body) as { events: { event_id: string }[] };
    const ids = events.map(event => event.event_id);
    assert.equal(sent, ids.length);
    this.requests.push({ at: this._clock.time, ids, bytes: Buffer.byteLength(body), keepalive });
    await settle();
    const odd = this.answer(ids);
    if (odd && odd.kind !== 'answer') {
      return odd;
    }
    const results = odd?.results ?? ids.map(() => ({ status: 'accepted' as const }));
    ids.forEach((id, index) => {
      if (results[index]?.status === 'accepted') {
        this.stored.push(id);
      }
    });
    return { kind: 'answer', results, notices: odd ? odd.notices : [], refusals: odd?.refusals };
  }
}

const unavailable = (retryAfterMs = 0): SendResult => ({ kind: 'unavailable', retryAfterMs, reason: 'HTTP 503' });
const off: SendResult = { kind: 'answer', results: [], notices: [{ kind: 'off' }] };

let serial = 0;
function event(type = 'cell_selected', size = 0): IEncodedEvent {
  const id = uuid7();
  const json = JSON.stringify({ event_id: id, type, n: serial++, padding: 'x'.repeat(size) });
  return { id, json, bytes: Buffer.byteLength(json), type };
}

interface ISetup {
  clock: StillClock;
  monitor: FakeMonitor;
  queue: EventQueue;
  guard: FaultGuard;
  store: IEventStore;
}

function setUp(options: Partial<ConstructorParameters<typeof EventQueue>[0]> = {}): ISetup {
  const clock = new StillClock();
  const monitor = new FakeMonitor(clock);
  const guard = new FaultGuard();
  const store = options.store ?? new MemoryStore();
  const queue = new EventQueue({ store, transport: monitor, clock, guard, random: () => 0.5, ...options });
  return { clock, monitor, queue, guard, store };
}

test('edits and selections are sent together after ten seconds, at once when there are 200, in their order', async () => {
  const { clock, monitor, queue } = setUp();
  const first = [event(), event(), event()];
  first.forEach(item => queue.push(item));
  await clock.pass(9900);
  assert.equal(monitor.requests.length, 0);
  await clock.pass(200);
  assert.deepEqual(monitor.stored, first.map(item => item.id));
  assert.equal(queue.queued, 0);
  const many = Array.from({ length: 450 }, () => event());
  many.forEach(item => queue.push(item));
  await clock.pass(1500);
  assert.deepEqual(
    monitor.requests.slice(1).map(request => request.ids.length),
    [200, 200, 50]
  );
  assert.deepEqual(monitor.stored, [...first, ...many].map(item => item.id));
});

test('the two-hundredth event sends its batch at once', async () => {
  const { clock, monitor, queue } = setUp();
  Array.from({ length: 199 }, () => event()).forEach(item => queue.push(item));
  clock.advance(0);
  await settle();
  assert.equal(monitor.requests.length, 0);
  queue.push(event());
  clock.advance(0);
  await settle();
  assert.deepEqual(monitor.requests.map(request => request.ids.length), [200]);
});

test('a proxy that takes only small requests gets small ones, and no event is lost', async () => {
  const { clock, monitor, queue } = setUp();
  const tooLarge: SendResult = { kind: 'unavailable', retryAfterMs: 0, reason: 'HTTP 413', tooLarge: true };
  monitor.answer = ids => (ids.length > 30 ? tooLarge : null);
  const events = Array.from({ length: 200 }, () => event());
  events.forEach(item => queue.push(item));
  await clock.pass(1000);
  assert.equal(queue.connection, 'unavailable');
  assert.equal(queue.problem, 'request_intercepted');
  await clock.pass(120_000, 1000);
  assert.deepEqual(monitor.stored, events.map(item => item.id));
  assert.equal(queue.rejected + queue.dropped, 0);
  assert.equal(queue.connection, 'ok');
  // What comes later is not refused again first.
  const before = monitor.requests.length;
  Array.from({ length: 50 }, () => event()).forEach(item => queue.push(item));
  await clock.pass(12_000);
  assert.deepEqual(monitor.requests.slice(before).map(request => request.ids.length), [25, 25]);
});

test('a poll that is answered ends the pause: queued events are sent at once', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable();
  queue.push(event());
  // After several failures in a row the next attempt is due in half a minute.
  await clock.pass(120_000, 1000);
  const before = monitor.requests.length;
  monitor.answer = () => null;
  await queue.poll();
  await clock.pass(300);
  assert.equal(monitor.requests.length, before + 2);
  assert.equal(queue.queued, 0);
});

test('a poll that is answered by a monitor that is switched off sends nothing', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable();
  queue.push(event());
  await clock.pass(10_000, 1000);
  const before = monitor.requests.length;
  monitor.answer = () => off;
  await queue.poll();
  await clock.pass(60_000, 1000);
  assert.equal(monitor.requests.length, before + 1);
});

for (const type of ['cell_execution_started', 'cell_executed', 'help_requested', 'help_cancelled', 'kernel_died']) {
  test(`${type} does not wait for a batch`, async () => {
    const { clock, monitor, queue } = setUp();
    queue.push(event(type));
    await clock.pass(100, 10);
    assert.equal(monitor.requests.length, 1);
  });
}

test('what a closed tab left in the store is sent by another one', async () => {
  const name = `tabs-${serial++}`;
  const { clock, monitor, queue } = setUp({ store: await IndexedDbStore.open(name) });
  queue.start();
  await settle();
  const closed = setUp({ store: await IndexedDbStore.open(name) });
  const left = event('cell_edited');
  closed.queue.push(left);
  await settle();
  closed.queue.dispose();
  queue.push(event('cell_executed'));
  await clock.pass(11_000);
  assert.ok(monitor.stored.includes(left.id));
});

test('the start and the end of a quick run are one request, with the edits that waited', async () => {
  const { clock, monitor, queue } = setUp();
  const events = [event('cell_edited'), event('cell_selected'), event('cell_execution_started'), event('cell_executed')];
  queue.push(events[0] as IEncodedEvent);
  queue.push(events[1] as IEncodedEvent);
  await clock.pass(3000);
  queue.push(events[2] as IEncodedEvent);
  await clock.pass(90, 10);
  queue.push(events[3] as IEncodedEvent);
  await clock.pass(10, 10);
  assert.deepEqual(monitor.requests.map(request => request.ids), [events.map(item => item.id)]);
  await clock.pass(20_000, 1000);
  assert.equal(monitor.requests.length, 1);
});

test('the start of a long run is not kept back for its end', async () => {
  const { clock, monitor, queue } = setUp();
  queue.push(event('cell_execution_started'));
  await clock.pass(100, 10);
  assert.equal(monitor.requests.length, 1);
  queue.push(event('cell_executed'));
  await clock.pass(100, 10);
  assert.equal(monitor.requests.length, 2);
});

test('an edit while a request is answered is no request of its own', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => {
    if (monitor.requests.length === 1) {
      queue.push(event('cell_edited'));
    }
    return null;
  };
  queue.push(event('cell_executed'));
  await clock.pass(9900);
  assert.equal(monitor.requests.length, 1);
  await clock.pass(300);
  assert.deepEqual(monitor.requests.map(request => request.ids.length), [1, 1]);
});

test('fifty quick runs in a row are ten requests a second, not a hundred', async () => {
  const { clock, monitor, queue } = setUp();
  for (let run = 0; run < 50; run++) {
    queue.push(event('cell_execution_started'));
    queue.push(event('cell_executed'));
    await clock.pass(20, 20);
  }
  await clock.pass(200, 20);
  assert.equal(monitor.stored.length, 100);
  assert.ok(monitor.requests.length <= 11, `${monitor.requests.length} requests`);
});

test('an event is in the store before any timer runs: the process of the page may die after the next line', async () => {
  const name = `killed-${serial++}`;
  const { queue } = setUp({ store: await IndexedDbStore.open(name) });
  const lost = [event('cell_executed'), event('cell_edited')];
  lost.forEach(item => queue.push(item));
  await settle();
  const next = setUp({ store: await IndexedDbStore.open(name) });
  next.queue.start();
  await settle();
  await next.clock.pass(200);
  assert.deepEqual(next.monitor.stored, lost.map(item => item.id));
});

test('the heartbeat of a hidden page does not wait for a timer, which may run a minute later', async () => {
  let hidden = true;
  const { clock, monitor, queue } = setUp({ hidden: () => hidden });
  queue.push(event('heartbeat'));
  await settle();
  await settle();
  assert.equal(monitor.stored.length, 1);
  hidden = false;
  queue.push(event('heartbeat'));
  await settle();
  await settle();
  assert.equal(monitor.requests.length, 1);
  await clock.pass(11_000, 1000);
  assert.equal(monitor.stored.length, 2);
});

test('large events are batched by size', async () => {
  const { clock, monitor, queue } = setUp();
  Array.from({ length: 50 }, () => event('x', 50_000)).forEach(item => queue.push(item));
  await clock.pass(12_000);
  assert.equal(monitor.stored.length, 50);
  assert.ok(monitor.requests.length > 2);
  assert.ok(monitor.requests.every(request => request.bytes <= BATCH_BYTES + 300));
});

test('while the monitor is unavailable the pauses grow, and nothing is lost or stored twice', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable();
  const events = Array.from({ length: 5 }, () => event());
  events.forEach(item => queue.push(item));
  await clock.pass(120_000, 250);
  const pauses = monitor.requests.slice(1).map((request, index) => request.at - (monitor.requests[index]?.at ?? 0));
  assert.ok(pauses.every((pause, index) => pause >= Math.min(500 * 2 ** index, 30_000)), pauses.join());
  assert.ok(monitor.requests.length < 12, `${monitor.requests.length} requests`);
  assert.equal(queue.connection, 'unavailable');
  assert.equal(queue.queued, 5);
  monitor.answer = () => null;
  await clock.pass(60_000, 250);
  assert.deepEqual(monitor.stored, events.map(item => item.id));
  assert.equal(queue.connection, 'ok');
});

test('Retry-After applies to new events, to urgent events and to requests for notices', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable(30_000);
  queue.push(event('cell_executed'));
  await clock.pass(2500);
  assert.equal(monitor.requests.length, 1);
  monitor.answer = () => null;
  queue.push(event('help_requested'));
  await queue.poll();
  await clock.pass(28_000, 250);
  assert.equal(monitor.requests.length, 1);
  await clock.pass(4000);
  assert.equal(monitor.stored.length, 2);
});

test('a clock that is set back by ten hours does not keep the queue from trying again', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable(1000);
  queue.push(event('cell_executed'));
  await clock.pass(200);
  assert.equal(monitor.requests.length, 1);
  clock.now = () => clock.time - 36_000_000;
  monitor.answer = () => null;
  await clock.pass(5000);
  assert.equal(monitor.stored.length, 1);
});

test('events answered with retry are sent again, alone and after a pause', async () => {
  const { clock, monitor, queue } = setUp();
  const events = [event(), event(), event()];
  monitor.answer = ids => ({
    kind: 'answer',
    results: ids.map(id => ({ status: id === events[1]?.id ? 'retry' : 'accepted' })),
    notices: []
  });
  events.forEach(item => queue.push(item));
  await clock.pass(10_300);
  assert.equal(monitor.requests.length, 1);
  assert.equal(queue.queued, 1);
  monitor.answer = () => null;
  await clock.pass(3000);
  assert.deepEqual(monitor.requests[1]?.ids, [events[1]?.id]);
  assert.equal(queue.queued, 0);
});

test('an event because of which a batch is refused is rejected alone, and reported', async () => {
  const { clock, monitor, queue } = setUp();
  const events = Array.from({ length: 30 }, () => event());
  const poison = events[11]?.id as string;
  const reported: string[] = [];
  queue.onRejected = ids => reported.push(...ids);
  monitor.answer = ids => (ids.includes(poison) ? { kind: 'refused', reason: 'invalid_body' } : null);
  events.forEach(item => queue.push(item));
  await clock.pass(12_000);
  assert.equal(monitor.stored.length, 29);
  assert.equal(queue.rejected, 1);
  // So it is in the student's record, and no other one.
  assert.deepEqual(queue.latest.filter(item => item.refused).map(item => item.id), [poison]);
  assert.deepEqual(reported, [poison]);
  assert.equal(queue.queued, 0);
});

test('a full queue drops the oldest and counts them', async () => {
  const { clock, monitor, queue } = setUp({ maxEvents: 10 });
  monitor.answer = () => unavailable(3_000_000);
  const events = Array.from({ length: 25 }, () => event());
  const reported: string[] = [];
  queue.onDropped = ids => reported.push(...ids);
  for (const item of events) {
    queue.push(item);
    await clock.pass(300);
  }
  assert.equal(queue.queued, 10);
  assert.equal(queue.dropped, 15);
  // A request for help that is dropped does not look sent, and the student reads what was lost.
  assert.deepEqual(reported, events.slice(0, 15).map(item => item.id));
  const lost = queue.refusals.filter(refusal => refusal.reason === 'queue_full');
  assert.deepEqual(lost.map(refusal => refusal.events), [15]);
});

test('a queue that is full by size drops the oldest too', async () => {
  const { clock, monitor, queue } = setUp({ maxBytes: 100_000 });
  monitor.answer = () => unavailable(3_000_000);
  for (let n = 0; n < 30; n++) {
    queue.push(event('x', 20_000));
    await clock.pass(300);
  }
  assert.ok(queue.queued <= 5);
  assert.equal(queue.queued + queue.dropped, 30);
});

test('a monitor that is switched off is polled every ten minutes, and nothing is stored', async () => {
  const { clock, monitor, queue, store } = setUp();
  monitor.answer = ids => ({ ...off, results: ids.map(() => ({ status: 'rejected' as const })) });
  queue.push(event());
  await clock.pass(11_000);
  assert.equal(queue.connection, 'off');
  assert.equal((await store.size()).count, 0);
  const before = monitor.requests.length;
  await clock.pass(OFF_PERIOD_MS - 5000, 30_000);
  assert.equal(monitor.requests.length, before);
  monitor.answer = () => null;
  await clock.pass(10_000, 1000);
  assert.equal(queue.connection, 'ok');
});

test('a server without our server half gets no further requests', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => ({ kind: 'missing' });
  queue.push(event());
  await clock.pass(60_000, 1000);
  assert.equal(queue.connection, 'off');
  assert.equal(monitor.requests.length, 1);
});

test('a page that is left sends its newest events once more, within the limit of keepalive requests', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable();
  const events = Array.from({ length: 40 }, () => event('x', 5000));
  events.forEach(item => queue.push(item));
  await clock.pass(300);
  queue.flushOnHide();
  queue.flushOnHide(); // both visibilitychange and pagehide are fired
  await settle();
  const leaving = monitor.requests.filter(request => request.keepalive);
  assert.equal(leaving.length, 1);
  assert.ok((leaving[0]?.bytes ?? 0) <= KEEPALIVE_BYTES);
  assert.equal(leaving[0]?.ids.at(-1), events.at(-1)?.id);
  monitor.answer = () => null;
  await clock.pass(70_000, 500);
  assert.equal(new Set(monitor.stored).size, 40);
});

test('events of a closed page are sent by the next one', async () => {
  const name = `page-${serial++}`;
  const first = setUp({ store: await IndexedDbStore.open(name) });
  first.monitor.answer = () => unavailable();
  const events = [event(), event()];
  events.forEach(item => first.queue.push(item));
  await first.clock.pass(500);
  first.queue.dispose();
  const second = setUp({ store: await IndexedDbStore.open(name) });
  second.queue.start();
  await settle();
  await second.clock.pass(4000);
  assert.deepEqual(second.monitor.stored, events.map(item => item.id));
});

/** Writes records as the version before did, without the type. */
async function writeUntyped(name: string, events: readonly IEncodedEvent[]): Promise<void> {
  await IndexedDbStore.open(name);
  const database = await new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('not opened'));
  });
  const writing = database.transaction('events', 'readwrite');
  events.forEach(({ id, json, bytes }) => writing.objectStore('events').put({ id, json, bytes }));
  await new Promise(resolve => (writing.oncomplete = resolve));
  database.close();
}

test('events stored by an older version are sent, and have their type', async () => {
  const name = `untyped-${serial++}`;
  const events = [event('cell_executed'), event('heartbeat'), { ...event(), json: '{"event_id":"not closed"' }];
  const readable = events.slice(0, 2);
  await writeUntyped(name, events);
  const store = await IndexedDbStore.open(name);
  assert.deepEqual(
    (await store.oldest(10, 1e6)).map(found => [found.id, found.type]),
    [
      [events[0]?.id, 'cell_executed'],
      [events[1]?.id, 'heartbeat'],
      [events[2]?.id, '']
    ]
  );
  await store.remove([events[2]?.id as string]);
  const { clock, monitor, queue } = setUp({ store });
  const complete: boolean[] = [];
  queue.onNotices = (_, all) => complete.push(all);
  queue.start();
  await settle();
  await clock.pass(4000);
  assert.deepEqual(monitor.stored, readable.map(item => item.id));
  // A heartbeat is among them, so the answer's notices are all that there are.
  assert.deepEqual(complete, [true]);
});

test('the latest twenty events are kept for the status dialog, newest first', () => {
  const { queue } = setUp();
  const events = Array.from({ length: 25 }, () => event());
  events.forEach(item => queue.push(item));
  assert.deepEqual(queue.latest.map(item => item.json), events.slice(-20).reverse().map(item => item.json));
});

test('a selection that is reported after the run that followed it is below that run', () => {
  const { queue } = setUp();
  const at = (monotonic: number): Partial<IEncodedEvent> => ({ made: { page: 'p', wall: 0, monotonic } });
  const [opened, started, ended, selected] = [1, 3, 4, 2].map(time => ({ ...event(), ...at(time) }));
  for (const item of [opened, started, ended, selected]) {
    queue.push(item as IEncodedEvent);
  }
  assert.deepEqual(queue.latest.map(item => item.id), [ended, started, selected, opened].map(item => item?.id));
});

test('without a usable store the events of an open page are sent', async () => {
  const broken: IEventStore = {
    append: () => Promise.reject(new Error('QuotaExceededError')),
    oldest: () => Promise.reject(new Error('broken')),
    remove: () => Promise.reject(new Error('broken')),
    size: () => Promise.reject(new Error('broken'))
  };
  const { clock, monitor, queue, guard } = setUp({ store: broken });
  queue.push(event());
  await clock.pass(11_000);
  assert.equal(monitor.stored.length, 1);
  assert.ok(guard.count > 0);
});

test('with a store that never opens the events of an open page are sent', async () => {
  const noted: unknown[] = [];
  const opening = new OpeningStore(new Promise(() => undefined), 30, error => noted.push(error));
  const { clock, monitor, queue } = setUp({ store: opening });
  queue.push(event('cell_executed'));
  await clock.pass(2500);
  assert.equal(monitor.stored.length, 0);
  await new Promise(resolve => setTimeout(resolve, 60));
  await clock.pass(2500);
  assert.equal(monitor.stored.length, 1);
  assert.equal(noted.length, 1);
});

test('while another tab is sending, this one waits and does not send the same', async () => {
  let busy = true;
  const { clock, monitor, queue } = setUp({
    sendLock: async action => {
      if (!busy) {
        await action();
      }
      return !busy;
    }
  });
  queue.push(event('cell_executed'));
  await clock.pass(5000);
  assert.equal(monitor.requests.length, 0);
  busy = false;
  await clock.pass(3000);
  assert.equal(monitor.stored.length, 1);
});

test('the list of notices is complete only from the monitor itself and only on request', async () => {
  const { clock, monitor, queue } = setUp();
  const received: [readonly INotice[], boolean][] = [];
  queue.onNotices = (notices, complete) => received.push([notices, complete]);
  await queue.poll();
  queue.push(event('cell_edited'));
  await clock.pass(11_000);
  queue.push(event('heartbeat'));
  await clock.pass(11_000);
  monitor.answer = ids => ({
    kind: 'answer',
    results: ids.map(() => ({ status: 'accepted' })),
    notices: [{ kind: 'spooled' }]
  });
  await queue.poll();
  assert.deepEqual(
    received.map(([, complete]) => complete),
    [true, false, true, false]
  );
  assert.equal(queue.connection, 'spooled');
});

test('unknown notices are not reported as a complete list', async () => {
  const { clock, monitor, queue } = setUp();
  const received: [readonly INotice[], boolean][] = [];
  queue.onNotices = (notices, complete) => received.push([notices, complete]);
  monitor.answer = ids => ({ kind: 'answer', results: ids.map(() => ({ status: 'accepted' })), notices: null });
  await queue.poll();
  queue.push(event('heartbeat'));
  await clock.pass(11_000);
  assert.deepEqual(received, [
    [[], false],
    [[], false]
  ]);
  assert.equal(queue.connection, 'ok');
});

test('a queued heartbeat is known, so that no second one is made', async () => {
  const { clock, monitor, queue } = setUp();
  queue.push(event('heartbeat'));
  assert.equal(queue.holds('heartbeat'), true);
  await clock.pass(11_000);
  assert.equal(monitor.stored.length, 1);
  assert.equal(queue.holds('heartbeat'), false);
});

test('other events and heartbeats that another tab may have sent are no queued heartbeat', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => unavailable(3_600_000);
  queue.push(event('cell_selected'));
  assert.equal(queue.holds('heartbeat'), false);
  queue.push(event('heartbeat'));
  await clock.pass(59_999, 10_000);
  assert.equal(queue.holds('heartbeat'), true);
  await clock.pass(1);
  assert.equal(queue.holds('heartbeat'), false);
});

test('a store filled to its bound in bytes drops nothing, and one byte more drops the oldest', async () => {
  const events = [event(), event(), event('x', 1)];
  const bytes = events.reduce((sum, item) => sum + item.bytes, 0);
  for (const [maxBytes, dropped] of [
    [bytes, 0],
    [bytes - 1, 1]
  ] as const) {
    const { clock, monitor, queue } = setUp({ maxBytes });
    monitor.answer = () => unavailable(3_600_000);
    events.forEach(item => queue.push(item));
    await clock.pass(300);
    assert.deepEqual([queue.dropped, queue.queued], [dropped, events.length - dropped]);
  }
});

test('the last request has as many events as a browser allows, counted with their commas', async () => {
  // 60 KiB hold 20 events of 3,057 bytes; of 3,058 bytes 20 would fit without their commas and waits only.
  for (const [size, fitting] of [
    [3057, 20],
    [3058, 19]
  ] as const) {
    const { clock, monitor, queue } = setUp();
    monitor.answer = () => unavailable();
    for (let n = 0; n < 25; n++) {
      const item = event('cell_selected', size);
      queue.push({ ...item, json: item.json.replace('x'.repeat(item.bytes - size), ''), bytes: size });
    }
    await clock.pass(300);
    queue.flushOnHide();
    await settle();
    const [last] = monitor.requests.filter(request => request.keepalive);
    assert.equal(last?.ids.length, fitting);
    assert.ok((last?.bytes ?? 0) <= KEEPALIVE_BYTES);
  }
});

for (const [name, open] of [
  ['IndexedDB', () => IndexedDbStore.open(`contract-${serial++}`)],
  ['memory', () => Promise.resolve(new MemoryStore())]
] as const) {
  test(`the ${name} store returns what was added, oldest first, within the bounds`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(2000), { maxLength: 25 }),
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 5000 }),
        async (sizes, count, bytes) => {
          const store = await open();
          const events = sizes.map(size => event('x', size));
          await store.append([...events].reverse());
          await store.append(events); // a second write changes nothing
          assert.deepEqual(await store.size(), {
            count: events.length,
            bytes: events.reduce((sum, item) => sum + item.bytes, 0)
          });
          const got: string[] = [];
          for (;;) {
            const batch = await store.oldest(count, bytes);
            if (batch.length === 0) {
              break;
            }
            assert.ok(batch.length <= count);
            assert.ok(batch.length === 1 || batch.reduce((sum, item) => sum + item.bytes, 0) <= bytes);
            got.push(...batch.map(item => item.id));
            await store.remove(batch.map(item => item.id));
          }
          assert.deepEqual(got, events.map(item => item.id));
        }
      ),
      { numRuns: 25 }
    );
  });
}

for (const [name, open] of [
  ['IndexedDB', () => IndexedDbStore.open(`bound-${serial++}`)],
  ['memory', () => Promise.resolve(new MemoryStore())]
] as const) {
  test(`a batch of the ${name} store may be as large as its bound, and later events never overtake`, async () => {
    const store = await open();
    const [first, second, third] = [event('x', 10), event('x', 500), event('x', 10)];
    await store.append([first, second, third]);
    const batch = async (bytes: number): Promise<string[]> => (await store.oldest(10, bytes)).map(item => item.id);
    assert.deepEqual(await batch(first.bytes + second.bytes), [first.id, second.id]);
    assert.deepEqual(await batch(first.bytes + second.bytes - 1), [first.id]);
  });
}

test('each event is stored, rejected or dropped exactly once, for any answers of the monitor', async () => {
  const answers = fc.constantFrom('ok', 'unavailable', 'asked', 'retry', 'garbage', 'refused');
  await fc.assert(
    fc.asyncProperty(fc.array(answers, { maxLength: 12 }), fc.integer({ min: 1, max: 60 }), async (plan, count) => {
      const { clock, monitor, queue } = setUp({ maxEvents: 50 });
      const script = [...plan];
      const refused: string[] = [];
      queue.onRejected = ids => refused.push(...ids);
      monitor.answer = ids => {
        switch (script.shift()) {
          case 'unavailable':
            return unavailable();
          case 'asked':
            return unavailable(3000);
          case 'garbage':
            return { kind: 'unavailable', retryAfterMs: 0, reason: 'unreadable answer' };
          case 'refused':
            return { kind: 'refused', reason: 'invalid_body' };
          case 'retry':
            return {
              kind: 'answer',
              results: ids.map((_, index) => ({ status: index % 2 ? 'accepted' : 'retry' })),
              notices: []
            };
          default:
            return null;
        }
      };
      const events = Array.from({ length: count }, () => event());
      for (const item of events) {
        queue.push(item);
      }
      for (let turn = 0; turn < 400 && (queue.queued > 0 || turn < 3); turn++) {
        await clock.pass(2000, 1000);
      }
      assert.equal(queue.queued, 0);
      assert.equal(new Set(monitor.stored).size, monitor.stored.length, 'nothing was stored twice');
      assert.equal(monitor.stored.length + refused.length + queue.dropped, count);
      assert.equal(queue.rejected, refused.length);
    }),
    { numRuns: 30 }
  );
});

test('the pauses of many browsers are spread over the whole time', () => {
  const pauses = Array.from({ length: 200 }, () => {
    const backoff = new Backoff();
    backoff.next();
    backoff.next();
    return backoff.next();
  });
  assert.ok(Math.min(...pauses) < 1000 && Math.max(...pauses) > 3000);
  assert.ok(pauses.every(pause => pause >= 0 && pause <= 4000));
  assert.ok(new Backoff(() => 1).next(5000) >= 5000);
});

const refusal = { reason: 'course_required', course: null, events: 1, everything: true };

test('what the server half reports as refused is shown until an answer reports it no longer', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = ids => ({
    kind: 'answer',
    results: ids.map(() => ({ status: 'rejected', reason: 'course_required' })),
    notices: [],
    refusals: [refusal]
  });
  queue.push(event());
  await clock.pass(20_000, 500);
  assert.deepEqual(queue.refusals, [refusal]);
  monitor.answer = () => null;
  queue.push(event());
  await clock.pass(20_000, 500);
  assert.deepEqual(queue.refusals, []);
});

test('events that the full queue deleted are reported for ten minutes', async () => {
  const { clock, monitor, queue } = setUp({ maxEvents: 3 });
  monitor.answer = () => unavailable();
  Array.from({ length: 5 }, () => event()).forEach(item => queue.push(item));
  await clock.pass(1000);
  assert.deepEqual(queue.refusals, [{ reason: 'queue_full', course: null, events: 2, everything: false }]);
  await clock.pass(601_000, 1000);
  assert.deepEqual(queue.refusals, []);
});

test('a request that is refused because of one event reports that event', async () => {
  const { clock, monitor, queue } = setUp();
  monitor.answer = () => ({ kind: 'refused', reason: 'invalid_body' });
  queue.push(event());
  await clock.pass(20_000, 500);
  assert.deepEqual(queue.refusals, [{ reason: 'invalid_body', course: null, events: 1, everything: false }]);
});

test('why waiting does not help is known while it is so', async () => {
  const { clock, monitor, queue } = setUp();
  const answer = (notices: INotice[]): void => {
    monitor.answer = ids => ({ kind: 'answer', results: ids.map(() => ({ status: 'accepted' })), notices });
  };
  answer([{ kind: 'spooled', reason: 'api_key_refused' }]);
  await queue.poll();
  assert.equal(queue.problem, 'api_key_refused');
  answer([]);
  await queue.poll();
  assert.equal(queue.problem, null);
  monitor.answer = () => ({ kind: 'unavailable', retryAfterMs: 0, reason: 'HTTP 403' });
  await queue.poll();
  assert.equal(queue.problem, 'signed_out');
  answer([{ kind: 'off', reason: 'not_configured' }]);
  await clock.pass(1000);
  await queue.poll();
  assert.equal(queue.problem, 'not_configured');
  assert.equal(queue.connection, 'off');
});

test('a store that refuses a write is reported as one that is lost with the page', async () => {
  const store = new MemoryStore();
  store.append = () => Promise.reject(new Error('QuotaExceededError'));
  const { clock, queue } = setUp({ store });
  assert.equal(queue.volatile, false);
  queue.push(event());
  await clock.pass(1000);
  assert.equal(queue.volatile, true);
});
