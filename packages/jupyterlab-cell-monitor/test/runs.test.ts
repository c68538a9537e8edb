import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { endId, RunReports } from '../src/capture/reports';
import type { IKernelMessage } from '../src/capture/request';
import { RunTracker } from '../src/capture/runs';
import type { IUnseenCell } from '../src/capture/unseen';
import type { Cell, CellExecutedData } from '../src/events/types';
import { HANDED_BYTES, OpenRuns } from '../src/queue/open_runs';
import { StillClock } from './clock';
import { cells, Kernel, reference, RunLog } from './kernel_messages';

let clock: StillClock;
let log: RunLog;
let started: string[];
let finished: { cell: Cell; data: CellExecutedData }[];
let tracker: RunTracker;
let kernel: Kernel;

beforeEach(() => {
  clock = new StillClock();
  log = new RunLog();
  ({ started, finished } = log);
  tracker = new RunTracker(cells, log, clock, false);
  kernel = new Kernel(tracker, clock);
});

const request = (cellId: string, code?: string, metadata?: Record<string, unknown>): string =>
  kernel.request(cellId, code, metadata);
const receive = (...args: Parameters<Kernel['message']>): void => kernel.receive(...args);
const input = (run: string, count?: number): void => kernel.input(run, count);
const idle = (run: string): void => kernel.idle(run);
const reply = (run: string, content: Record<string, unknown>, metadata = {}): void =>
  kernel.reply(run, content, metadata);
const ends = (): unknown[] => finished.map(({ data }) => [data.status, data.error?.name]);

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

test('an error that the reply does not name is the one that the student sees', () => {
  const run = request('cell-1');
  input(run);
  kernel.show(run, 'AttributeError');
  kernel.end(run, { status: 'error', ename: 'NoneType', evalue: 'None', traceback: [] });
  assert.deepEqual(ends(), [['error', 'AttributeError']]);
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

test('a cell that kills the kernel before its start is known is the one that ran', () => {
  assert.deepEqual([tracker.running], [null]);
  const ended = request('cell-1');
  reply(ended, { status: 'ok' });
  const killer = request('cell-2');
  request('cell-3');
  assert.equal(tracker.running?.id, 'cell-2');
  input(killer);
  assert.equal(tracker.running?.id, 'cell-2');
  kernel.end(killer);
  assert.equal(tracker.running?.id, 'cell-3');
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

test('a run that waits for another one is marked when it starts', () => {
  const [first, second] = [request('cell-1'), request('cell-2')];
  input(first);
  kernel.end(first);
  input(second);
  kernel.end(second);
  input(request('cell-3'));
  assert.deepEqual(log.queued, [false, true, false]);
});

test('a kernel that says idle for a request on the control channel ends no run', () => {
  // JupyterLab 4.2 and 4.4 ask the debugger whenever a notebook is shown; the kernel is idle after the answer.
  const run = request('cell-1');
  input(run);
  for (let n = 0; n < 5; n++) {
    const debug = kernel.send('control', 'debug_request', { command: 'debugInfo' });
    receive('iopub', 'status', { execution_state: 'busy' }, debug);
    receive('control', 'debug_reply', {}, debug);
    idle(debug);
    clock.advance(60_000);
  }
  assert.equal(finished.length, 0);
  assert.equal(tracker.running?.id, 'cell-1');
  kernel.show(run, 'ValueError');
  kernel.end(run, { status: 'error', ename: 'ValueError', evalue: 'v', traceback: ['t'] });
  assert.deepEqual(ends(), [['error', 'ValueError']]);
  assert.equal(finished[0]?.data.duration_ms, 300_000);
  assert.equal(tracker.running, null);
});

test("another page's requests and their ends are not this page's", () => {
  const run = request('cell-1');
  input(run);
  const foreign = '11111111-1111-4111-8111-111111111111';
  input(foreign);
  kernel.show(foreign, 'NameError');
  kernel.end(foreign, { status: 'error', ename: 'NameError', evalue: '', traceback: [] });
  assert.equal(finished.length, 0);
  kernel.end(run);
  assert.deepEqual(ends(), [['ok', undefined]]);
});

test('a traceback that the student sees makes a failure of a run whose reply is ok', () => {
  // %run, %%capture, %%time and showtraceback.
  const run = request('cell-1', '%run fails.py');
  input(run);
  kernel.show(run, 'NameError');
  kernel.end(run);
  assert.deepEqual(ends(), [['error', 'NameError']]);
  assert.equal(finished[0]?.data.error?.traceback, 't');
});

test('an interrupt inside %run is an interrupt, and a run that goes on after an error ends as it ends', () => {
  const interrupted = request('cell-1', '%run endless.py');
  input(interrupted);
  kernel.show(interrupted, 'KeyboardInterrupt');
  kernel.end(interrupted);
  const both = request('cell-2', '%run fails.py\n1 / 0');
  input(both);
  kernel.show(both, 'NameError');
  kernel.show(both, 'ZeroDivisionError');
  kernel.end(both, { status: 'error', ename: 'ZeroDivisionError', evalue: 'v', traceback: [] });
  assert.deepEqual(ends(), [
    ['aborted', 'KeyboardInterrupt'],
    ['error', 'ZeroDivisionError']
  ]);
});

test('an error that the run itself cleared is not one that the student sees', () => {
  const run = request('cell-1', '%run fails.py\nclear_output()');
  input(run);
  kernel.show(run, 'NameError');
  receive('iopub', 'clear_output', { wait: false }, run);
  kernel.end(run);
  // Unless the run failed: its reply is an error, whatever was cleared before.
  const failed = request('cell-1');
  input(failed);
  receive('iopub', 'clear_output', { wait: true }, failed);
  kernel.end(failed, { status: 'error', ename: 'ValueError', evalue: '', traceback: [] });
  assert.deepEqual(ends(), [
    ['ok', undefined],
    ['error', 'ValueError']
  ]);
});

test('a traceback that was caught and printed is text', () => {
  const run = request('cell-1');
  input(run);
  kernel.print(run, 'Traceback (most recent call last):\nZeroDivisionError: division by zero\n');
  kernel.end(run);
  assert.deepEqual(ends(), [['ok', undefined]]);
});

test('a cell that its author lets fail is marked, whether it fails or not', () => {
  const metadata = { tags: ['hide-input', 'raises-exception'] };
  const fails = request('cell-1', '1 / 0', metadata);
  input(fails);
  kernel.show(fails, 'ZeroDivisionError');
  kernel.end(fails, { status: 'error', ename: 'ZeroDivisionError', evalue: 'v', traceback: ['t'] });
  kernel.end(request('cell-1', '1', metadata));
  kernel.end(request('cell-2', '1', { tags: 'raises-exception' }));
  assert.deepEqual(
    finished.map(({ data }) => [data.status, data.error_expected]),
    [
      ['error', true],
      ['ok', true],
      ['ok', undefined]
    ]
  );
});

test('its own idle status ends a run whose reply is lost, with what the student saw', () => {
  const failed = request('cell-1');
  input(failed);
  kernel.show(failed, 'KeyError');
  idle(failed);
  const skipped = request('cell-2');
  idle(skipped);
  const ran = request('cell-3');
  input(ran);
  idle(ran);
  assert.equal(finished.length, 0);
  clock.advance(2500);
  assert.deepEqual(ends(), [
    ['error', 'KeyError'],
    ['aborted', undefined],
    ['ok', undefined]
  ]);
});

test('a run goes on while the connection is lost, and its messages are replayed after it', () => {
  const run = request('cell-1');
  input(run);
  tracker.connectionLost();
  clock.advance(600_000);
  const info = kernel.send('shell', 'kernel_info_request', {});
  kernel.print(run, 'kept by the server');
  kernel.end(run);
  receive('shell', 'kernel_info_reply', {}, info);
  assert.deepEqual(ends(), [['ok', undefined]]);
  assert.equal(finished[0]?.data.outputs[0]?.text, 'kept by the server');
});

test('a run whose reply was lost with the connection ends when the kernel answers a later request', () => {
  const lost = request('cell-1');
  input(lost);
  const waiting = request('cell-2');
  tracker.connectionLost();
  const info = kernel.send('shell', 'kernel_info_request', {});
  clock.advance(600_000);
  assert.equal(finished.length, 0, 'the kernel has not answered: it may still be at it');
  receive('shell', 'kernel_info_reply', {}, info);
  assert.deepEqual(ends(), [['aborted', undefined]]);
  // The second may only have been kept back by JupyterLab until then; a run after it shows that it was not.
  const later = request('cell-3');
  input(later);
  assert.equal(finished.length, 1);
  kernel.end(later);
  assert.deepEqual(
    finished.map(({ cell, data }) => [cell.id, data.status]),
    [
      ['cell-1', 'aborted'],
      ['cell-2', 'aborted'],
      ['cell-3', 'ok']
    ]
  );
  kernel.end(waiting);
  assert.equal(finished.length, 3);
});

test('the end of a run that was lost with the connection is left to the server half, where it follows runs', () => {
  tracker = new RunTracker(cells, log, clock, true);
  kernel = new Kernel(tracker, clock);
  const lost = request('cell-1');
  input(lost);
  tracker.connectionLost();
  receive('shell', 'kernel_info_reply', {}, kernel.send('shell', 'kernel_info_request', {}));
  assert.equal(tracker.open, 0);
  // An end that the page made up would be the first of its id, and the true one its duplicate.
  assert.equal(finished.length, 0);
  assert.equal(log.connected, 1);
  input(request('cell-2'));
  tracker.disconnected();
  assert.equal(finished.length, 0);
  assert.equal(tracker.open, 0);
  input(request('cell-3'));
  tracker.kernelGone();
  assert.deepEqual(ends(), [['aborted', undefined]]);
});

test('answers without a loss of the connection end no other run', () => {
  // Some kernels answer questions about themselves while they execute.
  const run = request('cell-1');
  input(run);
  const info = kernel.send('shell', 'kernel_info_request', {});
  receive('shell', 'kernel_info_reply', {}, info);
  assert.equal(tracker.open, 1);
});

test('a restart by another page ends what ran, and what was never executed once a later run is answered', () => {
  const ran = request('cell-1');
  input(ran);
  request('cell-2');
  receive('iopub', 'status', { execution_state: 'starting' });
  assert.deepEqual(
    finished.map(({ cell, data }) => [cell.id, data.status]),
    [['cell-1', 'aborted']]
  );
  kernel.end(request('cell-3'));
  assert.deepEqual(
    finished.slice(1).map(({ cell, data }) => [cell.id, data.status]),
    [
      ['cell-2', 'aborted'],
      ['cell-3', 'ok']
    ]
  );
});

test('a kernel that says that it starts does not end the run that waits for it', () => {
  const run = request('cell-1');
  receive('iopub', 'status', { execution_state: 'starting' });
  clock.advance(60_000);
  assert.equal(finished.length, 0);
  input(run);
  kernel.end(run);
  assert.deepEqual(ends(), [['ok', undefined]]);
});

test('a run that waits for input goes on', () => {
  const run = request('cell-1', 'input()');
  input(run);
  receive('stdin', 'input_request', { prompt: '?' }, run);
  clock.advance(600_000);
  assert.equal(tracker.running?.id, 'cell-1');
  kernel.send('stdin', 'input_reply', { value: '1' }, run);
  kernel.end(run);
  assert.deepEqual(ends(), [['ok', undefined]]);
});

test('runs that go on after the page is left are not ended by it', () => {
  const run = request('cell-1');
  input(run);
  reply(run, { status: 'ok' });
  request('cell-2');
  tracker.handOver();
  clock.advance(60_000);
  tracker.kernelGone();
  assert.equal(finished.length, 0);
  assert.equal(clock.waiting, 0);
});

test('a run is known by the id of its request, by which the server half can name it', () => {
  const run = request('cell-1');
  kernel.end(run);
  assert.equal(finished[0]?.data.execution_id, run);
  const odd: IKernelMessage = { ...kernel.message('shell', 'execute_request', {}), metadata: { cellId: 'cell-1' } };
  tracker.message({ ...odd, header: { ...odd.header, msg_id: 'no-uuid' } }, 'send');
  tracker.kernelGone();
  assert.match(finished[1]?.data.execution_id ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

test('the id of an end is that of its start with the last bit inverted, as the server half makes it', () => {
  const run = request('cell-1');
  input(run);
  kernel.end(run);
  kernel.end(request('cell-2'));
  const [start, end] = log.ids as [string, string];
  assert.match(start, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  assert.equal(BigInt(`0x${start.slice(-4)}`) ^ 1n, BigInt(`0x${end.slice(-4)}`));
  assert.equal(start.slice(0, -4), end.slice(0, -4));
  assert.equal(endId('01890000-0000-7000-8000-00000000000f'), '01890000-0000-7000-8000-00000000000e');
});

/** A tracker whose runs are handed over, and the runs that wait for it. */
function handing(followed = true): OpenRuns {
  const open = new OpenRuns(clock);
  tracker = new RunTracker(cells, log, clock, followed, () => true, open, () => 'kernel-1');
  kernel = new Kernel(tracker, clock);
  return open;
}

const handed = (open: OpenRuns): Record<string, unknown>[] => {
  const { json, ids } = open.take(HANDED_BYTES);
  const runs = json ? (JSON.parse(`{${json}"events":[]}`) as { runs: Record<string, unknown>[] }).runs : [];
  assert.deepEqual(ids, runs.map(run => run['execution_id']));
  return runs;
};

test('runs that wait in the kernel when the page is gone are handed over with the ids that their events will have', () => {
  const open = handing();
  const [first, second] = [request('cell-1'), request('cell-2', 'x', { tags: ['raises-exception'] })];
  input(first);
  clock.advance(1500);
  tracker.handOver();
  const runs = handed(open);
  assert.deepEqual(
    runs.map(run => [run['execution_id'], run['kernel'], run['error_expected'], run['age_ms'], run['server_code']]),
    [
      [first, 'kernel-1', undefined, 1500, undefined],
      [second, 'kernel-1', true, 1500, undefined]
    ]
  );
  // The start that the page made before has the id that it handed over.
  assert.deepEqual(log.ids, [runs[0]?.['start_id']]);
});

test('a run whose end the page reports is not handed over any more, and both have the ids made of its start', () => {
  const open = handing();
  const run = request('cell-1');
  const [asked] = handed(open);
  open.answered([run], false);
  input(run);
  kernel.end(run);
  assert.deepEqual(log.ids, [asked?.['start_id'], endId(String(asked?.['start_id']))]);
  assert.deepEqual(handed(open), []);
  // One that the kernel skipped has an end of that id, too: the server half may report it as well.
  const skipped = request('cell-2');
  const [waiting] = handed(open);
  reply(skipped, { status: 'aborted' });
  idle(skipped);
  assert.equal(log.ids.at(-1), endId(String(waiting?.['start_id'])));
});

test('a run that the server executes is handed over with what its request is known by', () => {
  const open = handing();
  const cell = new SharedCell();
  cell.code = `print('${'語'.repeat(200)}')`;
  tracker.scheduled('cell-1', cell);
  assert.deepEqual(handed(open), [], 'the page may send the request itself');
  clock.advance(0);
  const [run] = handed(open);
  assert.deepEqual(run?.['server_code'], { head: cell.code.slice(0, 128), bytes: 609 });
  cell.running = true;
  tracker.cellChanged('cell-1');
  assert.deepEqual(started, [run?.['execution_id']]);
  // A run that no kernel executes is none of the server's.
  cell.kernelId = null;
  tracker.scheduled('cell-2', cell);
  clock.advance(0);
  assert.deepEqual(handed(open), []);
});

test('what is handed over is what the server half reads', () => {
  const golden = JSON.parse(
    readFileSync(join(__dirname, '../../../../../tests/contract/golden/handed_runs.json'), 'utf8')
  ) as { runs: Record<string, unknown>[] };
  const open = new OpenRuns(clock);
  const reports = new RunReports(
    {
      emit: () => null,
      withNames: (cell, callback) =>
        callback(
          {
            session_id: '6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c01',
            seq: 7,
            notebook: { id: 'week1', path: 'week1.ipynb', title: 'week1' },
            course: 'intro'
          },
          cell
        )
    },
    clock,
    open
  );
  const run = { queued: false, startedTick: null };
  const [first, second] = golden.runs as [Record<string, string>, Record<string, string>];
  const kernelId = first['kernel'] as string;
  reports.requested(
    {
      ...run,
      executionId: first['execution_id'] as string,
      startId: first['start_id'] as string,
      cell: reference('cell-1'),
      code: '1 / 0',
      mayFail: true
    },
    { kernel: kernelId, byServer: false }
  );
  clock.advance(500);
  reports.requested(
    {
      ...run,
      executionId: second['execution_id'] as string,
      startId: second['start_id'] as string,
      cell: reference('cell-2'),
      code: "print('語')",
      mayFail: false
    },
    { kernel: kernelId, byServer: true }
  );
  clock.advance(1000);
  assert.deepEqual(handed(open), golden.runs);
});

test('help that is shown for a name is an output', () => {
  const run = request('cell-1', 'len?');
  input(run);
  kernel.end(run, { status: 'ok', payload: [{ source: 'page', data: { 'text/plain': 'Signature: len(obj)' } }] });
  assert.equal(finished[0]?.data.outputs[0]?.text, 'Signature: len(obj)');
});

test('a request that is announced twice, as after a reconnection, is one run', () => {
  const sent = kernel.message('shell', 'execute_request', { code: 'x' }, undefined, { cellId: 'cell-1' });
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
  kernel.send('shell', 'execute_request', { code: 'x' });
  request('elsewhere');
  kernel.send('shell', 'execute_request', { silent: true }, undefined, { cellId: 'cell-1' });
  receive('iopub', 'stream', { name: 'stdout', text: 'a console' }, 'unknown');
  assert.equal(tracker.open, 0);
});

/** A cell in the notebook's model, as the server changes it. */
class SharedCell implements IUnseenCell {
  code = 'remote()';
  mayFail = false;
  executionCount: number | null = null;
  running = false;
  outputs: IUnseenCell['outputs'] = [];
  startedAt = null;
  endedAt = null;
  kernelId: string | null = 'kernel-1';
}

const failure = { type: 'error', content: { ename: 'ZeroDivisionError', evalue: 'division by zero', traceback: ['t'] } };

test('a run whose request this page sends is not reported again by the notebook', () => {
  const cell = new SharedCell();
  tracker.scheduled('cell-1', cell);
  cell.running = true;
  tracker.cellChanged('cell-1');
  const run = request('cell-1');
  clock.advance(10);
  tracker.cellChanged('cell-1');
  assert.deepEqual(started, []);
  input(run);
  kernel.end(run);
  tracker.executed('cell-1', true, undefined);
  clock.advance(60_000);
  assert.deepEqual(ends(), [['ok', undefined]]);
  assert.equal(started.length, 1);
});

test('a run that the server executes starts and ends as its cell shows', () => {
  const cell = new SharedCell();
  cell.executionCount = 4;
  tracker.scheduled('cell-1', cell);
  clock.advance(3000);
  assert.deepEqual(started, [], 'it waits for its turn');
  cell.executionCount = null;
  cell.running = true;
  tracker.cellChanged('cell-1');
  tracker.cellChanged('cell-1');
  assert.equal(started.length, 1);
  assert.equal(tracker.running?.id, 'cell-1');
  clock.advance(700);
  cell.outputs = [{ type: 'stream', content: { name: 'stdout', text: ['a', 'b'] } }, failure];
  tracker.cellChanged('cell-1');
  cell.running = false;
  cell.executionCount = 5;
  tracker.cellChanged('cell-1');
  tracker.executed('cell-1', false, undefined);
  const [run] = finished;
  assert.deepEqual(run?.data.error, { name: 'ZeroDivisionError', value: 'division by zero', traceback: 't' });
  assert.deepEqual([run?.data.status, run?.data.duration_ms, run?.data.execution_count], ['error', 700, 5]);
  assert.equal(run?.data.outputs[0]?.text, 'ab');
  assert.deepEqual(started, [run?.data.execution_id]);
});

test('the end of a run of the server waits for what the notebook has not received yet', () => {
  // The answer to the request and the outputs come through different connections.
  const cell = new SharedCell();
  cell.executionCount = 4;
  tracker.scheduled('cell-1', cell);
  clock.advance(50);
  tracker.executed('cell-1', false, undefined);
  clock.advance(500);
  assert.equal(finished.length, 0);
  cell.outputs = [failure];
  cell.executionCount = 5;
  tracker.cellChanged('cell-1');
  assert.deepEqual(ends(), [['error', 'ZeroDivisionError']]);
  clock.advance(60_000);
  assert.equal(finished.length, 1);
  assert.equal(started.length, 1);
});

test('a failure that the server reports and that the student reads as plain text is one', () => {
  const cell = new SharedCell();
  tracker.scheduled('cell-1', cell);
  clock.advance(50);
  cell.running = true;
  tracker.cellChanged('cell-1');
  cell.outputs = [{ type: 'stream', content: { name: 'stderr', text: 'UsageError: Line magic function' } }];
  cell.executionCount = 1;
  cell.running = false;
  tracker.executed('cell-1', false, undefined);
  clock.advance(2500);
  assert.deepEqual(ends(), [['error', 'Error']]);
});

test('a run that the server skipped is aborted, and so is one that no kernel executed', () => {
  const skipped = new SharedCell();
  tracker.scheduled('cell-1', skipped);
  clock.advance(50);
  tracker.executed('cell-1', false, undefined);
  clock.advance(2500);
  const starting = new SharedCell();
  starting.kernelId = null;
  tracker.scheduled('cell-2', starting);
  // JupyterLab says that it succeeded.
  tracker.executed('cell-2', true, undefined);
  assert.deepEqual(
    finished.map(({ data }) => [data.status, 'duration_ms' in data]),
    [
      ['aborted', false],
      ['aborted', false]
    ]
  );
  assert.deepEqual(started, []);
  assert.equal(tracker.open, 0);
});

test('a restart ends a run that the server executes, and a late answer does not end it again', () => {
  const cell = new SharedCell();
  tracker.scheduled('cell-1', cell);
  clock.advance(50);
  cell.running = true;
  tracker.cellChanged('cell-1');
  tracker.kernelGone();
  tracker.executed('cell-1', false, undefined);
  clock.advance(60_000);
  assert.deepEqual(ends(), [['aborted', undefined]]);
  assert.equal(clock.waiting, 0);
});

test('a blank cell and a cell of another notebook are no runs', () => {
  const blank = new SharedCell();
  blank.code = ' \n';
  tracker.scheduled('cell-1', blank);
  tracker.executed('cell-1', true, undefined);
  tracker.scheduled('elsewhere', new SharedCell());
  tracker.executed('elsewhere', true, undefined);
  assert.equal(finished.length, 0);
  assert.equal(tracker.open, 0);
});

test('a run that a program asks for is no act of the student', () => {
  let own = true;
  tracker = new RunTracker(cells, log, clock, false, () => own);
  kernel = new Kernel(tracker, clock);
  for (own of [true, false]) {
    const run = request('cell-1', 'a');
    input(run);
    reply(run, { status: 'ok' });
    idle(run);
  }
  assert.deepEqual(log.queued, [false, true]);
});

/** The messages that answer one request, in the order of their channel, and the outcome that the student sees. */
const answers = fc.constantFrom(
  { iopub: ['input', 'print', 'idle'], shell: ['ok'], outcome: 'ok' },
  { iopub: ['input', 'error', 'idle'], shell: ['fail'], outcome: 'error' },
  { iopub: ['input', 'error', 'print', 'idle'], shell: ['ok'], outcome: 'error' },
  { iopub: ['input', 'error', 'clear', 'idle'], shell: ['ok'], outcome: 'ok' },
  { iopub: ['input', 'interrupt', 'idle'], shell: ['ok'], outcome: 'aborted' },
  { iopub: ['idle'], shell: ['abort'], outcome: 'aborted' }
);

test('any interleaving of the messages of several requests gives each run its own outcome, and one end', () => {
  const act: Record<string, (run: string) => void> = {
    input: run => input(run),
    print: run => kernel.print(run, run),
    error: run => kernel.show(run, 'E'),
    interrupt: run => kernel.show(run, 'KeyboardInterrupt'),
    clear: run => receive('iopub', 'clear_output', { wait: false }, run),
    idle: run => idle(run),
    ok: run => reply(run, { status: 'ok' }),
    fail: run => reply(run, { status: 'error', ename: 'E', evalue: 'v', traceback: [] }),
    abort: run => reply(run, { status: 'aborted' })
  };
  const noise: (() => void)[] = [
    () => idle(kernel.send('control', 'debug_request', {})),
    () => receive('iopub', 'status', { execution_state: 'idle' }),
    () => kernel.end('22222222-2222-4222-8222-222222222222'),
    () => clock.advance(20),
    () => receive('shell', 'kernel_info_reply', {}, kernel.send('shell', 'kernel_info_request', {}))
  ];
  fc.assert(
    fc.property(
      fc.array(answers, { minLength: 1, maxLength: 5 }),
      fc.infiniteStream(fc.nat(1000)),
      (expected, choices) => {
        clock = new StillClock();
        const log = new RunLog();
        tracker = new RunTracker(cells, log, clock, false);
        kernel = new Kernel(tracker, clock);
        const next = (bound: number): number => (choices.next().value as number) % bound;
        const runs = expected.map((answer, n) => ({ id: request(`cell-${n}`), iopub: [...answer.iopub], shell: [...answer.shell] }));
        for (;;) {
          const queues = runs.flatMap(run => [run.iopub, run.shell].filter(queue => queue.length > 0).map(queue => ({ run, queue })));
          const chosen = queues[next(queues.length || 1)];
          if (!chosen) {
            break;
          }
          (noise[next(noise.length * 3)] ?? (() => undefined))();
          act[chosen.queue.shift() as string]?.(chosen.run.id);
        }
        clock.advance(60_000);
        const outcomes = new Map(log.finished.map(({ data }) => [data.execution_id, data.status]));
        assert.equal(log.finished.length, runs.length);
        assert.equal(outcomes.size, runs.length);
        runs.forEach((run, n) => assert.equal(outcomes.get(run.id), expected[n]?.outcome));
        assert.equal(new Set(log.started).size, log.started.length);
        assert.ok(log.finished.every(({ data }) => data.outputs.every(output => output.text === data.execution_id)));
        assert.equal(tracker.open, 0);
        assert.equal(clock.waiting, 0);
      }
    ),
    { numRuns: 400 }
  );
});

test('each request ends in exactly one run, for any order of messages, losses and ends of the kernel', () => {
  const step = fc.constantFrom(
    'request', 'announce', 'input', 'stream', 'error', 'ok', 'fail', 'abort', 'idle', 'gone', 'wait', 'lost', 'asked', 'starting'
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.nat(3)), { maxLength: 60 }), steps => {
      clock = new StillClock();
      const log = new RunLog();
      tracker = new RunTracker(cells, log, clock, false);
      kernel = new Kernel(tracker, clock);
      const sent: IKernelMessage[] = [];
      const ended = (): Map<string, number> => {
        const times = new Map<string, number>();
        log.finished.forEach(({ data }) => times.set(data.execution_id, (times.get(data.execution_id) ?? 0) + 1));
        return times;
      };
      for (const [name, which] of steps) {
        const run = sent[which]?.header.msg_id ?? 'none';
        switch (name) {
          case 'request': {
            const next = kernel.message('shell', 'execute_request', { code: 'x' }, undefined, { cellId: 'cell-1' });
            tracker.message(next, 'send');
            sent.unshift(next);
            break;
          }
          case 'announce': // a message that waited for its connection may be announced again
            if (sent[which] && !ended().has(run)) {
              tracker.message(sent[which], 'send');
            }
            break;
          case 'input':
            input(run);
            break;
          case 'stream':
            kernel.print(run, 'x');
            break;
          case 'error':
            kernel.show(run, 'E');
            break;
          case 'ok':
          case 'fail':
          case 'abort':
            reply(run, { status: { ok: 'ok', fail: 'error', abort: 'aborted' }[name] });
            break;
          case 'idle':
            idle(run);
            break;
          case 'gone':
            tracker.kernelGone();
            break;
          case 'lost':
            tracker.connectionLost();
            break;
          case 'asked':
            receive('shell', 'kernel_info_reply', {}, kernel.send('shell', 'kernel_info_request', {}));
            break;
          case 'starting':
            receive('iopub', 'status', { execution_state: 'starting' });
            break;
          default:
            clock.advance(500);
        }
      }
      tracker.kernelGone();
      clock.advance(60_000);
      const times = ended();
      assert.equal(times.size, sent.length);
      assert.ok([...times.values()].every(count => count === 1));
      assert.equal(new Set(log.started).size, log.started.length);
      assert.ok(log.started.every(id => times.has(id)));
      assert.equal(tracker.open, 0);
      assert.equal(clock.waiting, 0);
    }),
    { numRuns: 400 }
  );
});
