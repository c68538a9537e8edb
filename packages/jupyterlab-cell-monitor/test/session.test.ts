import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { FaultGuard } from '../src/runtime/guard';
import type { IEncodedEvent } from '../src/events/session';
import { encodeEvent, NotebookSession } from '../src/events/session';
import type { Cell, CellExecuted, CellExecutionStarted, Event, Notebook, NotebookOpened } from '../src/events/types';
import { newTraceparent } from '../src/transport/traceparent';
import { VERSION } from '../src/version';
import { StillClock } from './clock';

const notebook = { id: 'n', path: 'n.ipynb' };
const cell = { id: 'c', source_id: 'c', index: 0, type: 'code' as const };
const identified = (each: Cell): Cell => each;
const moment = { page: 'p', monotonic: 0, wall: 0 };
const sinkOf = (taken: IEncodedEvent[]) => ({ push: (event: IEncodedEvent) => void taken.push(event), moment: () => moment });
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test('the version is the installed one', () => {
  const manifest = JSON.parse(readFileSync(join(__dirname, '../../../package.json'), 'utf8')) as { version: string };
  assert.equal(VERSION, manifest.version);
});

test('events of a session are numbered and have the fields of the contract', () => {
  const taken: IEncodedEvent[] = [];
  const session = new NotebookSession({ notebook, course: 'c1', identified }, new StillClock(), sinkOf(taken));
  session.begin();
  session.emit('session_started', { client: { extension_version: VERSION } });
  const id = session.emit('cell_selected', {}, cell);
  const events = taken.map(event => JSON.parse(event.json) as Event);
  assert.deepEqual(
    events.map(event => event.seq),
    [1, 2]
  );
  assert.equal(events[1]?.event_id, id);
  for (const [index, event] of events.entries()) {
    assert.match(event.event_id, UUID7);
    assert.equal(event.schema_version, 1);
    assert.equal(event.occurred_at, '2026-04-01T09:00:00.000Z');
    assert.equal(event.session_id, session.id);
    assert.equal(event.course, 'c1');
    assert.equal(taken[index]?.bytes, Buffer.byteLength(taken[index]?.json ?? ''));
  }
  assert.ok(!('cell' in (events[0] as object)));
});

test('a session that has ended sends nothing, and the next one counts from 1 again under another id', () => {
  const taken: IEncodedEvent[] = [];
  const origin = { notebook, course: null, identified };
  const session = new NotebookSession(origin, new StillClock(), sinkOf(taken));
  assert.equal(session.emit('kernel_died', {}), null);
  session.begin();
  session.emit('kernel_died', {});
  session.end();
  assert.equal(session.emit('kernel_died', {}), null);
  origin.notebook = { id: 'n', path: 'renamed.ipynb' };
  session.begin();
  session.emit('kernel_died', {});
  const events = taken.map(event => JSON.parse(event.json) as Event);
  assert.deepEqual(
    events.map(event => [event.seq, event.notebook?.path]),
    [
      [1, 'n.ipynb'],
      [1, 'renamed.ipynb']
    ]
  );
  assert.notEqual(events[0]?.session_id, events[1]?.session_id);
});

test('what happens before the notebook is known is sent with its own times once it is', () => {
  const taken: IEncodedEvent[] = [];
  const clock = new StillClock();
  const made = { page: 'p', monotonic: 0, wall: 0 };
  const origin = {
    notebook: null as Notebook | null,
    course: 'c1',
    identified: (each: Cell): Cell => ({ ...each, source_id: 'position-0' })
  };
  const session = new NotebookSession(origin, clock, {
    push: event => void taken.push(event),
    moment: () => ({ ...made, monotonic: clock.monotonic() })
  });
  session.begin();
  session.emit('notebook_opened', { cells: [cell] });
  const before = session.id;
  clock.advance(1500);
  const named: unknown[] = [];
  session.withNames(cell, (names, known) => named.push([names, known.source_id]));
  const id = session.emit('cell_execution_started', { execution_id: 'e' }, cell);
  session.emitOutside('heartbeat', { queued: 0, dropped: 0, visible: true });
  session.emit('session_ended', { reason: 'closed' });
  session.end();
  clock.advance(1000);
  assert.equal(taken.length, 0);
  origin.notebook = notebook;
  session.identified();
  session.identified();
  const events = taken.map(event => JSON.parse(event.json) as Event);
  assert.deepEqual(
    events.map(event => [event.type, event.seq, event.session_id, event.notebook?.id, event.occurred_at.slice(17, 23)]),
    [
      ['notebook_opened', 1, before, 'n', '00.000'],
      ['cell_execution_started', 2, before, 'n', '01.500'],
      ['heartbeat', 3, before, undefined, '01.500'],
      ['session_ended', 4, before, 'n', '01.500']
    ]
  );
  assert.equal(events[1]?.event_id, id);
  // The run is handed over with the same names, and no run of no session.
  session.withNames(cell, () => assert.fail('there is no session'));
  assert.deepEqual(named, [[{ session_id: before, seq: 4, notebook, course: 'c1' }, 'position-0']]);
  assert.deepEqual(
    taken.map(event => event.made?.monotonic).map(at => (at ?? 0) - StillClock.start),
    [0, 1500, 1500, 1500]
  );
  const [opened, started] = events as [NotebookOpened, CellExecutionStarted];
  assert.deepEqual([opened.data.cells[0]?.source_id, started.cell.source_id], ['position-0', 'position-0']);
});

test('an event is never too large for the server, for any size of its parts', () => {
  const text = fc.oneof(
    fc.constant('"\\\n'.repeat(2700)),
    fc.constant('統計'.repeat(1300)),
    fc.constant('x'.repeat(8192)),
    fc.constant('\u0001'.repeat(8192))
  );
  fc.assert(
    fc.property(fc.array(text, { maxLength: 20 }), text, text, (texts, half, traceback) => {
      const event = encodeEvent(
        'cell_executed',
        {
          session_id: 's',
          seq: 1,
          notebook,
          cell,
          data: {
            execution_id: 'e',
            status: 'error',
            code: half + half,
            outputs: texts.map(output => ({ type: 'stream', name: 'stdout', text: output, size: output.length })),
            error: { name: 'E', value: half.slice(0, 2048), traceback: traceback + traceback }
          }
        },
        0
      );
      assert.ok(event.bytes < 64 * 1024, `${event.bytes}`);
      const { data } = JSON.parse(event.json) as CellExecuted;
      assert.equal(data.outputs.length, texts.length);
      data.outputs.forEach((output, index) => {
        assert.ok(texts[index]?.startsWith(output.text));
        assert.equal(output.truncated === true, output.text !== texts[index]);
      });
      assert.equal(data.code_truncated === true, data.code !== half + half);
      assert.equal(data.error?.truncated === true, data.error?.traceback !== traceback + traceback);
    }),
    { numRuns: 40 }
  );
});

test('an outline of 500 cells with long names still fits', () => {
  const cells = Array.from({ length: 500 }, (_, index) => ({
    id: `${index}`.padEnd(128, '識'),
    source_id: 's'.repeat(128),
    index,
    type: 'code' as const,
    heading: '見'.repeat(256)
  }));
  const event = encodeEvent('notebook_opened', { session_id: 's', seq: 1, notebook, data: { cells } }, 0);
  assert.ok(event.bytes < 64 * 1024);
});

test('one request in a hundred is sampled, and a traceparent is well formed', () => {
  assert.match(newTraceparent(false, () => 0.5), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  assert.match(newTraceparent(false, () => 0.001), /-01$/);
  assert.match(newTraceparent(true, () => 0.5), /-01$/);
  assert.notEqual(newTraceparent(true), newTraceparent(true));
});

test('an exception is caught and counted', async () => {
  const guard = new FaultGuard();
  guard.wrap(() => {
    throw new TypeError('ours');
  })();
  assert.equal(
    guard.run(() => 7),
    7
  );
  guard.watch(Promise.reject(new Error('later')));
  await new Promise(resolve => setImmediate(resolve));
  assert.equal(guard.count, 2);
  assert.equal(guard.last, 'Error: later');
});
