import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v7 as uuid7 } from 'uuid';
import type { IEncodedEvent } from '../src/events/session';
import { encodeEvent } from '../src/events/session';
import type { IClock, IMoment } from '../src/runtime/clock';
import { FaultGuard } from '../src/runtime/guard';
import { EventQueue } from '../src/queue/queue';
import { MemoryStore } from '../src/queue/store';
import { WaitClock } from '../src/queue/waits';
import type { ITransport, SendResult } from '../src/transport/transport';
import { settle, StillClock } from './clock';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A computer whose two clocks the test moves. */
class Computer implements IClock {
  wall = Date.UTC(2026, 3, 1, 9);
  ticks = 1000;

  now(): number {
    return this.wall;
  }

  monotonic(): number {
    return this.ticks;
  }

  after(): () => void {
    return () => undefined;
  }

  pass(ms: number): void {
    this.wall += ms;
    this.ticks += ms;
  }
}

function event(made?: IMoment, occurred?: string): IEncodedEvent {
  const id = uuid7();
  const json = JSON.stringify({ event_id: id, type: 'help_requested', occurred_at: occurred });
  return { id, json, bytes: Buffer.byteLength(json), type: 'help_requested', ...(made ? { made } : {}) };
}

interface IBody {
  sent_at?: string;
  waited_ms?: number[];
  events: unknown[];
}

function bodyOf(clock: WaitClock, ...events: IEncodedEvent[]): IBody {
  return JSON.parse(clock.bodyOf(events)) as IBody;
}

test('a request says when it was sent and how long each of its events waited', () => {
  const computer = new Computer();
  const clock = new WaitClock(computer);
  const first = event(clock.now());
  computer.pass(20 * MINUTE);
  const body = bodyOf(clock, first, event(clock.now()));
  assert.deepEqual(body.waited_ms, [20 * MINUTE, 0]);
  assert.equal(body.sent_at, '2026-04-01T09:20:00.000Z');
  assert.equal(body.events.length, 2);
});

test('a clock that is set back while an event waits does not make it new', () => {
  const computer = new Computer();
  const clock = new WaitClock(computer);
  const asked = event(clock.now());
  computer.pass(5 * MINUTE);
  computer.wall -= 10 * HOUR;
  assert.deepEqual(bodyOf(clock, asked).waited_ms, [5 * MINUTE]);
});

test('an event that slept with its computer is as old as the night was long', () => {
  const computer = new Computer();
  const clock = new WaitClock(computer);
  const asked = event(clock.now());
  // The monotonic clock stops meanwhile.
  computer.wall += 9 * HOUR;
  assert.deepEqual(bodyOf(clock, asked).waited_ms, [9 * HOUR]);
});

test('an event that a page before the reload stored has its wait by the wall clock, never a negative one', () => {
  const computer = new Computer();
  const before = new WaitClock(computer, 'before');
  const asked = event(before.now());
  computer.pass(3 * MINUTE);
  computer.ticks = 40;
  const after = new WaitClock(computer, 'after');
  assert.deepEqual(bodyOf(after, asked).waited_ms, [3 * MINUTE]);
  computer.wall -= 10 * HOUR;
  assert.deepEqual(bodyOf(after, asked).waited_ms, [0]);
  computer.wall = Date.UTC(2200, 0, 1);
  assert.deepEqual(bodyOf(after, asked).waited_ms, [7 * 24 * HOUR]);
});

test('what an older version stored has its wait from its own time, and an unreadable one none', () => {
  const clock = new WaitClock(new Computer());
  const stored = [event(undefined, '2026-04-01T08:59:00.000Z'), event(undefined, 'yesterday'), event()];
  stored.push({ ...event(), json: '{' });
  assert.match(clock.bodyOf(stored), /"waited_ms":\[60000,0,0,0\]/);
});

test('an empty batch says nothing, since an older server refuses what it does not know', () => {
  assert.equal(new WaitClock(new Computer()).bodyOf([]), '{"events":[]}');
});

test('a clock beyond the years that a time can have still gives a time that the server reads', () => {
  const parts = { session_id: 's', seq: 1, data: { count: 1 } };
  const times = [-9e15, -8.64e15, 8.64e15, Infinity].map(
    now => (JSON.parse(encodeEvent('cell_removed', parts as never, now).json) as { occurred_at: string }).occurred_at
  );
  assert.deepEqual(new Set(times), new Set(['0001-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z']));
});

/** A server of an older release: it refuses a request with a key that it does not know. */
class OlderServer implements ITransport {
  readonly stored: string[] = [];
  refused = 0;

  async send(body: string, sent: number): Promise<SendResult> {
    await settle();
    const value = JSON.parse(body) as { events: { event_id: string }[] };
    if (Object.keys(value).join() !== 'events') {
      this.refused++;
      return { kind: 'refused', reason: 'invalid_body' };
    }
    this.stored.push(...value.events.map(each => each.event_id));
    return { kind: 'answer', results: Array.from({ length: sent }, () => ({ status: 'accepted' as const })), notices: [] };
  }
}

test('a server of an older release gets every event all the same', async () => {
  const clock = new StillClock();
  const server = new OlderServer();
  const queue = new EventQueue({ store: new MemoryStore(), transport: server, clock, guard: new FaultGuard() });
  const first = [event(), event(), event()];
  first.forEach(each => queue.push(each));
  await clock.pass(3000);
  const second = event();
  queue.push(second);
  await clock.pass(3000);
  assert.deepEqual(server.stored, [...first, second].map(each => each.id));
  assert.equal(server.refused, 1);
  assert.equal(queue.rejected, 0);
});
