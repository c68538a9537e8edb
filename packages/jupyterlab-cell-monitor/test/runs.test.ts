import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { IKernelMessage } from '../src/capture/runs';
import { RunTracker } from '../src/capture/runs';
import type { DataOf, NotebookSession } from '../src/events/session';
import type { Cell, CellExecutedData } from '../src/events/types';
import { StillClock } from './clock';

let clock: StillClock;
let started: string[];
let finished: { cell: Cell; data: CellExecutedData }[];
let tracker: RunTracker;
let serial = 0;

beforeEach(() => {
  clock = new StillClock();
  started = [];
  finished = [];
  tracker = new RunTracker(
    { reference: id => (id.startsWith('cell') ? reference(id) : null) },
    reporting(
      executionId => started.push(executionId),
      (cell, data) => finished.push({ cell, data })
    ),
    clock
  );
});

const reference = (id: string): Cell => ({ id, source_id: id, index: 0, type: 'code' });

/** A session that reports the starts and the ends of runs. */
function reporting(
  onStart: (executionId: string) => void,
  onEnd: (cell: Cell, data: CellExecutedData) => void
): Pick<NotebookSession, 'emit'> {
  return {
    emit: (type, data, cell) => {
      if (type === 'cell_execution_started') {
        onStart((data as DataOf<'cell_execution_started'>).execution_id);
      } else {
        assert.equal(type, 'cell_executed');
        onEnd(cell as Cell, data as CellExecutedData);
      }
      return 'id';
    }
  };
}

function message(
  channel: string,
  type: string,
  content: Record<string, unknown>,
  parent?: string,
  metadata: Record<string, unknown> = {}
): IKernelMessage {
  return {
    channel,
    header: { msg_id: `m${serial++}`, msg_type: type, date: new Date(clock.time).toISOString() },
    parent_header: parent ? { msg_id: parent } : {},
    metadata,
    content
  };
}

function request(cellId: string, code = 'x'): string {
  const sent = message('shell', 'execute_request', { code, silent: false }, undefined, { cellId });
  tracker.message(sent, 'send');
  return sent.header.msg_id;
}

const receive = (...args: Parameters<typeof message>): void => tracker.message(message(...args), 'recv');
const input = (run: string, count = 1): void => receive('iopub', 'execute_input', { execution_count: count }, run);
const idle = (run: string): void => receive('iopub', 'status', { execution_state: 'idle' }, run);
const reply = (run: string, content: Record<string, unknown>, metadata = {}): void =>
  receive('shell', 'execute_reply', content, run, metadata);

test('a run has the times of the kernel, not of the browser', () => {
  const run = request('cell-1', 'compute()');
  clock.advance(5000); // it waited for another cell
  input(run, 7);
  const startedAt = new Date(clock.time).toISOString();
  clock.advance(1234);
  receive('iopub', 'stream', { name: 'stdout', text: 'done' }, run);
  reply(run, { status: 'ok', execution_count: 7 }, { started: startedAt });
  clock.advance(700); // the reply arrived late
  assert.equal(finished.length, 0, 'outputs may still come');
  idle(run);
  assert.equal(finished.length, 1);
  const { data } = finished[0] as { data: CellExecutedData };
  assert.equal(data.status, 'ok');
  assert.equal(data.duration_ms, 1234);
  assert.equal(data.started_at, startedAt);
  assert.equal(data.execution_count, 7);
  assert.equal(data.code, 'compute()');
  assert.equal(data.outputs[0]?.text, 'done');
  assert.deepEqual(started, [data.execution_id]);
});

test('the same cell run twice before the first run ended is two runs', () => {
  const [first, second] = [request('cell-1', 'a'), request('cell-1', 'b')];
  input(first);
  reply(first, { status: 'ok' });
  idle(first);
  input(second);
  receive('iopub', 'stream', { name: 'stdout', text: 'second' }, second);
  reply(second, { status: 'ok' });
  idle(second);
  assert.deepEqual(
    finished.map(run => [run.data.code, run.data.outputs.length]),
    [
      ['a', 0],
      ['b', 1]
    ]
  );
  assert.notEqual(finished[0]?.data.execution_id, finished[1]?.data.execution_id);
});

test('an error has its traceback, without colours', () => {
  const run = request('cell-1');
  input(run);
  const error = { ename: 'NameError', evalue: "name 'x'", traceback: ['\u001b[31mTraceback\u001b[0m', 'line 1'] };
  receive('iopub', 'error', error, run);
  reply(run, { status: 'error', ...error });
  idle(run);
  assert.equal(finished[0]?.data.status, 'error');
  assert.deepEqual(finished[0]?.data.error, { name: 'NameError', value: "name 'x'", traceback: 'Traceback\nline 1' });
});

test('the traceback of a deep recursion keeps both ends', () => {
  const run = request('cell-1');
  input(run);
  reply(run, {
    status: 'error',
    ename: 'RecursionError',
    evalue: 'い'.repeat(5000),
    traceback: ['first', ...Array.from({ length: 5000 }, () => '中'.repeat(20)), 'last']
  });
  idle(run);
  const error = finished[0]?.data.error;
  assert.ok(error);
  assert.ok(error.traceback.startsWith('first') && error.traceback.endsWith('last'));
  assert.ok(Buffer.byteLength(error.traceback) <= 16384);
  assert.ok(Buffer.byteLength(error.value) <= 2048);
  assert.equal(error.truncated, true);
});

test('code is cut at its limit and marked, and code within the limit is neither', () => {
  // The contract allows 16,384 bytes of code; each of these characters is three bytes.
  const longest = 'あ'.repeat(5461) + 'x';
  for (const code of [longest, `${longest}y`]) {
    const run = request('cell-1', code);
    input(run);
    reply(run, { status: 'ok' });
    idle(run);
  }
  assert.deepEqual(
    finished.map(({ data }) => [data.code, data.code_truncated]),
    [
      [longest, undefined],
      [longest, true]
    ]
  );
});

test('a run with more outputs than fit is marked, and one with as many as fit is not', () => {
  // The contract allows 20 outputs.
  for (const count of [20, 21]) {
    const run = request('cell-1');
    input(run);
    for (let index = 0; index < count; index++) {
      receive('iopub', 'display_data', { data: { 'text/plain': `${index}` } }, run);
    }
    reply(run, { status: 'ok' });
    idle(run);
  }
  assert.deepEqual(
    finished.map(({ data }) => [data.outputs.length, data.outputs_truncated]),
    [
      [20, undefined],
      [20, true]
    ]
  );
});

test('cells skipped after an error are aborted and have no duration', () => {
  const run = request('cell-1');
  reply(run, { status: 'aborted' });
  idle(run);
  assert.equal(finished[0]?.data.status, 'aborted');
  assert.ok(!('duration_ms' in (finished[0]?.data ?? {})));
  assert.deepEqual(started, []);
});

test('an interrupted cell is aborted, not failed', () => {
  const run = request('cell-1');
  input(run);
  reply(run, { status: 'error', ename: 'KeyboardInterrupt', evalue: '', traceback: [] });
  idle(run);
  assert.equal(finished[0]?.data.status, 'aborted');
});

test('a restart ends every open run once', () => {
  const runs = [request('cell-1'), request('cell-2'), request('cell-3')];
  input(runs[0] as string);
  clock.advance(300);
  tracker.kernelGone();
  tracker.kernelGone();
  reply(runs[0] as string, { status: 'ok' });
  assert.deepEqual(
    finished.map(run => [run.cell.id, run.data.status, run.data.duration_ms]),
    [
      ['cell-1', 'aborted', 300],
      ['cell-2', 'aborted', undefined],
      ['cell-3', 'aborted', undefined]
    ]
  );
  assert.equal(tracker.open, 0);
});

test('a reply ends the run although the idle status is lost', () => {
  const run = request('cell-1');
  input(run);
  reply(run, { status: 'ok' });
  clock.advance(2500);
  assert.equal(finished.length, 1);
});

test('a run whose reply is lost ends after a while', () => {
  const run = request('cell-1');
  input(run);
  tracker.kernelIdle();
  clock.advance(5000);
  tracker.kernelBusy(); // it was only between two cells
  clock.advance(60_000);
  assert.equal(finished.length, 0);
  tracker.kernelIdle();
  clock.advance(11_000);
  assert.equal(finished[0]?.data.status, 'aborted');
});

test('a request that is announced twice, as after a reconnection, is one run', () => {
  const sent = message('shell', 'execute_request', { code: 'x' }, undefined, { cellId: 'cell-1' });
  tracker.message(sent, 'send');
  input(sent.header.msg_id);
  receive('iopub', 'stream', { name: 'stdout', text: 'x' }, sent.header.msg_id);
  tracker.message(sent, 'send');
  reply(sent.header.msg_id, { status: 'ok' });
  idle(sent.header.msg_id);
  assert.deepEqual(started, [finished[0]?.data.execution_id]);
  assert.equal(finished[0]?.data.outputs[0]?.text, 'x');
});

test('requests that are not of a cell of this notebook are not runs', () => {
  tracker.message(message('shell', 'execute_request', { code: 'x' }), 'send');
  request('elsewhere');
  tracker.message(message('shell', 'execute_request', { silent: true }, undefined, { cellId: 'cell-1' }), 'send');
  receive('iopub', 'stream', { name: 'stdout', text: 'a console' }, 'unknown');
  assert.equal(tracker.open, 0);
});

test('a run that the kernel showed is not reported again by the notebook', () => {
  tracker.scheduled('cell-1');
  const run = request('cell-1');
  input(run);
  reply(run, { status: 'ok' });
  idle(run);
  tracker.executed('cell-1', () => assert.fail('it was seen already'));
  assert.equal(finished.length, 1);
});

test('a run that only JupyterLab reports is read from the cell', () => {
  tracker.scheduled('cell-1');
  clock.advance(400);
  tracker.executed('cell-1', () => ({
    success: false,
    code: 'remote()',
    executionCount: 3,
    error: { name: 'ValueError', value: 'v', traceback: ['t'] },
    outputs: [{ type: 'stream', content: { name: 'stdout', text: ['a', 'b'] } }],
    startedAt: null,
    endedAt: null
  }));
  const data = finished[0]?.data;
  assert.equal(data?.status, 'error');
  assert.equal(data?.duration_ms, 400);
  assert.equal(data?.outputs[0]?.text, 'ab');
  assert.deepEqual(started, [data?.execution_id]);
  // JupyterLab reports a blank cell as executed too.
  tracker.scheduled('cell-2');
  tracker.executed('cell-2', () => null);
  assert.equal(finished.length, 1);
});

test('each request ends in exactly one run, for any order of messages', () => {
  const step = fc.constantFrom('request', 'announce', 'input', 'stream', 'error', 'ok', 'fail', 'abort', 'idle', 'gone', 'wait');
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.nat(3)), { maxLength: 60 }), steps => {
      finished = [];
      started = [];
      clock = new StillClock();
      const ended = new Map<string, number>();
      const runs: string[] = [];
      const sent: IKernelMessage[] = [];
      const endedCells = new Set<string>();
      const own = new RunTracker(
        { reference },
        reporting(
          id => started.push(id),
          (cell, data) => {
            endedCells.add(cell.id);
            ended.set(data.execution_id, (ended.get(data.execution_id) ?? 0) + 1);
          }
        ),
        clock
      );
      const receive = (...args: Parameters<typeof message>): void => own.message(message(...args), 'recv');
      for (const [name, which] of steps) {
        const run = runs[which] ?? 'none';
        switch (name) {
          case 'request': {
            const next = message('shell', 'execute_request', { code: 'x' }, undefined, { cellId: `cell-${serial}` });
            own.message(next, 'send');
            runs.unshift(next.header.msg_id);
            sent.unshift(next);
            break;
          }
          case 'announce': // a message that waited for its connection may be announced again
            if (sent[which] && !endedCells.has(String(sent[which].metadata['cellId']))) {
              own.message(sent[which], 'send');
            }
            break;
          case 'input':
            receive('iopub', 'execute_input', { execution_count: 1 }, run);
            break;
          case 'stream':
            receive('iopub', 'stream', { name: 'stdout', text: 'x' }, run);
            break;
          case 'error':
            receive('iopub', 'error', { ename: 'E', evalue: 'v', traceback: [] }, run);
            break;
          case 'ok':
          case 'fail':
          case 'abort':
            receive('shell', 'execute_reply', { status: { ok: 'ok', fail: 'error', abort: 'aborted' }[name] }, run);
            break;
          case 'idle':
            receive('iopub', 'status', { execution_state: 'idle' }, run);
            break;
          case 'gone':
            own.kernelGone();
            break;
          default:
            clock.advance(500);
        }
      }
      own.kernelGone();
      clock.advance(60_000);
      const requests = steps.filter(([name]) => name === 'request').length;
      assert.equal(ended.size, requests);
      assert.ok([...ended.values()].every(times => times === 1));
      assert.equal(new Set(started).size, started.length);
      assert.ok(started.every(id => ended.has(id)));
      assert.equal(own.open, 0);
      assert.equal(clock.waiting, 0);
    }),
    { numRuns: 400 }
  );
});
