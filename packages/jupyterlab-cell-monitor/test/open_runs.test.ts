import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v7 as uuid7 } from 'uuid';
import { FaultGuard } from '../src/runtime/guard';
import type { IOpenRun } from '../src/queue/open_runs';
import { OpenRuns } from '../src/queue/open_runs';
import { BATCH_DELAY_MS, EventQueue, HAND_OVER_MS, LINGER_MS } from '../src/queue/queue';
import { KEEPALIVE_BYTES, MemoryStore } from '../src/queue/store';
import type { ITransport, SendResult } from '../src/transport/transport';
import { settle, StillClock } from './clock';

interface IBody {
  runs?: { execution_id: string; age_ms: number }[];
  events: unknown[];
}

class Server implements ITransport {
  readonly bodies: IBody[] = [];
  readonly bytes: number[] = [];
  answer: (body: IBody) => SendResult | null = () => null;

  async send(body: string, sent: number): Promise<SendResult> {
    const value = JSON.parse(body) as IBody;
    assert.equal(value.events.length, sent);
    this.bodies.push(value);
    this.bytes.push(Buffer.byteLength(body));
    await settle();
    const results = value.events.map(() => ({ status: 'accepted' as const }));
    return this.answer(value) ?? { kind: 'answer', results, notices: null };
  }

  /** The execution ids in each request. */
  get runs(): string[][] {
    return this.bodies.map(body => (body.runs ?? []).map(run => run.execution_id));
  }
}

function setUp(): { clock: StillClock; server: Server; queue: EventQueue; open: OpenRuns } {
  const clock = new StillClock();
  const server = new Server();
  const open = new OpenRuns(clock);
  const guard = new FaultGuard();
  const queue = new EventQueue({ store: new MemoryStore(), transport: server, clock, guard, openRuns: open });
  return { clock, server, queue, open };
}

const run = (id: string, path = 'week1.ipynb'): IOpenRun => ({
  execution_id: id,
  start_id: uuid7(),
  session_id: 's',
  seq: 1,
  notebook: { id: 'n', path },
  cell: { id: 'c' },
  requested_at: '2026-04-01T09:00:00.000Z'
});

function event(type: string): { id: string; type: string; json: string; bytes: number } {
  const json = JSON.stringify({ type });
  return { id: uuid7(), type, json, bytes: json.length };
}

test('a run that is queued behind another one is known to the server before the browser can be killed', async () => {
  const { clock, server, open } = setUp();
  open.opened(run('queued'));
  await clock.pass(HAND_OVER_MS + 100);
  assert.deepEqual(server.runs, [['queued']]);
  assert.equal(server.bodies[0]?.runs?.[0]?.age_ms, HAND_OVER_MS);
  await clock.pass(60_000, 1000);
  assert.equal(server.bodies.length, 1, 'once');
});

test('an open run rides along with the events, and costs no request', async () => {
  const { clock, server, queue, open } = setUp();
  open.opened(run('long'));
  queue.push(event('cell_execution_started'));
  open.opened(run('queued'));
  await clock.pass(LINGER_MS);
  assert.deepEqual(server.runs, [['long', 'queued']]);
  assert.equal(server.bodies[0]?.events.length, 1);
  await clock.pass(60_000, 1000);
  assert.equal(server.bodies.length, 1);
  // An edit that waits goes with a run, and not by itself after that.
  queue.push(event('cell_edited'));
  open.opened(run('later'));
  await clock.pass(BATCH_DELAY_MS + 1000);
  assert.deepEqual(server.bodies.slice(1).map(body => [body.runs?.length, body.events.length]), [[1, 1]]);
});

test('a run that ends before its request is sent is none that the server must know', async () => {
  const { clock, server, queue, open } = setUp();
  open.opened(run('quick'));
  queue.push(event('cell_execution_started'));
  open.closed('quick');
  queue.push(event('cell_executed'));
  await clock.pass(2000);
  assert.deepEqual(server.runs, [[]]);
});

test('a run whose request fails is handed over again', async () => {
  const { clock, server, open } = setUp();
  server.answer = () => ({ kind: 'unavailable', retryAfterMs: 0, reason: 'NetworkError' });
  open.opened(run('queued'));
  await clock.pass(1500);
  server.answer = () => null;
  await clock.pass(60_000, 1000);
  assert.ok(server.bodies.length >= 2);
  assert.deepEqual(server.runs.at(-1), ['queued']);
  assert.equal(open.waiting, false);
});

test('a page that is left says which runs are open, within the limit of keepalive requests and each once', async () => {
  const { server, queue, open } = setUp();
  for (let n = 0; n < 400; n++) {
    open.opened(run(`run-${n}`, 'あ'.repeat(20)));
  }
  queue.push(event('session_ended'));
  queue.flushOnHide();
  queue.push(event('session_ended'));
  queue.flushOnHide(); // both visibilitychange and pagehide are fired
  await settle();
  assert.equal(server.bodies.length, 2);
  // The browser counts what is on its way together.
  assert.ok(server.bytes.reduce((sum, bytes) => sum + bytes, 0) <= KEEPALIVE_BYTES);
  const sent = server.runs.flat();
  assert.equal(new Set(sent).size, sent.length);
  assert.equal(server.runs[0]?.[0], 'run-0');
});

test('a server half of an older release, started under an open page, loses no event because of the runs', async () => {
  const { clock, server, queue, open } = setUp();
  server.answer = body => (body.runs ? { kind: 'refused', reason: 'invalid_body' } : null);
  open.opened(run('queued'));
  queue.push(event('cell_edited'));
  await clock.pass(15_000, 1000);
  assert.deepEqual(server.bodies.map(body => [body.runs?.length ?? 0, body.events.length]), [
    [1, 1],
    [0, 1]
  ]);
  assert.equal(queue.rejected, 0);
  open.opened(run('another'));
  await clock.pass(15_000, 1000);
  assert.equal(server.bodies.length, 2);
});
