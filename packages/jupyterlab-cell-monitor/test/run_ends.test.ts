import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { RunTracker } from '../src/capture/runs';
import { cells } from './kernel_messages';
import { TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

test('a restart ends every open run once', () => {
  const runs = [page.request('cell-1'), page.request('cell-2'), page.request('cell-3')];
  page.input(runs[0] as string);
  page.clock.advance(300);
  page.tracker.kernelGone();
  page.tracker.kernelGone();
  page.reply(runs[0] as string, { status: 'ok' });
  assert.deepEqual(
    page.finished.map(run => [run.cell.id, run.data.status, run.data.duration_ms]),
    [
      ['cell-1', 'aborted', 300],
      ['cell-2', 'aborted', undefined],
      ['cell-3', 'aborted', undefined]
    ]
  );
  assert.equal(page.tracker.open, 0);
});

test('a reply ends the run although the idle status is lost', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.reply(run, { status: 'ok' });
  page.clock.advance(2500);
  assert.equal(page.finished.length, 1);
});

test('a kernel that says idle for a request on the control channel ends no run', () => {
  // JupyterLab 4.2 and 4.4 ask the debugger whenever a notebook is shown; the kernel is idle after the answer.
  const run = page.request('cell-1');
  page.input(run);
  for (let n = 0; n < 5; n++) {
    const debug = page.kernel.send('control', 'debug_request', { command: 'debugInfo' });
    page.receive('iopub', 'status', { execution_state: 'busy' }, debug);
    page.receive('control', 'debug_reply', {}, debug);
    page.idle(debug);
    page.clock.advance(60_000);
  }
  assert.equal(page.finished.length, 0);
  assert.equal(page.tracker.running?.cell.id, 'cell-1');
  page.kernel.show(run, 'ValueError');
  page.kernel.end(run, { status: 'error', ename: 'ValueError', evalue: 'v', traceback: ['t'] });
  assert.deepEqual(page.ends(), [['error', 'ValueError']]);
  assert.equal(page.finished[0]?.data.duration_ms, 300_000);
  assert.equal(page.tracker.running, null);
});

test("another page's requests and their ends are not this page's", () => {
  const run = page.request('cell-1');
  page.input(run);
  const foreign = '11111111-1111-4111-8111-111111111111';
  page.input(foreign);
  page.kernel.show(foreign, 'NameError');
  page.kernel.end(foreign, { status: 'error', ename: 'NameError', evalue: '', traceback: [] });
  assert.equal(page.finished.length, 0);
  page.kernel.end(run);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
});

test('its own idle status ends a run whose reply is lost, with what the student saw', () => {
  const failed = page.request('cell-1');
  page.input(failed);
  page.kernel.show(failed, 'KeyError');
  page.idle(failed);
  const skipped = page.request('cell-2');
  page.idle(skipped);
  const ran = page.request('cell-3');
  page.input(ran);
  page.idle(ran);
  assert.equal(page.finished.length, 0);
  page.clock.advance(2500);
  const known = [
    ['error', 'KeyError'],
    ['aborted', undefined]
  ];
  assert.deepEqual(page.ends(), known, 'the kernel may have died with the reply of the third');
  page.clock.advance(8000);
  assert.deepEqual(page.ends(), [...known, ['ok', undefined]]);
});

test('a run whose reply is lost ends before the next one, which the kernel answers', () => {
  const lost = page.request('cell-1');
  page.input(lost);
  page.idle(lost);
  const next = page.request('cell-2');
  page.input(next);
  assert.equal(page.finished.length, 0, 'its reply may be on the way');
  page.kernel.end(next);
  assert.deepEqual(
    page.finished.map(({ cell, data }) => [cell.id, data.status]),
    [
      ['cell-1', 'ok'],
      ['cell-2', 'ok']
    ]
  );
});

test('a run goes on while the connection is lost, and its messages are replayed after it', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.tracker.connectionLost();
  page.clock.advance(600_000);
  const info = page.kernel.send('shell', 'kernel_info_request', {});
  page.kernel.print(run, 'kept by the server');
  page.kernel.end(run);
  page.receive('shell', 'kernel_info_reply', {}, info);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
  assert.equal(page.finished[0]?.data.outputs[0]?.text, 'kept by the server');
});

test('a run whose reply was lost with the connection ends when the kernel answers a later request', () => {
  const lost = page.request('cell-1');
  page.input(lost);
  const waiting = page.request('cell-2');
  page.tracker.connectionLost();
  const info = page.kernel.send('shell', 'kernel_info_request', {});
  page.clock.advance(600_000);
  assert.equal(page.finished.length, 0, 'the kernel has not answered: it may still be at it');
  page.receive('shell', 'kernel_info_reply', {}, info);
  assert.deepEqual(page.ends(), [['aborted', undefined]]);
  // The second may only have been kept back by JupyterLab until then; a run after it shows that it was not.
  const later = page.request('cell-3');
  page.input(later);
  assert.equal(page.finished.length, 1);
  page.kernel.end(later);
  assert.deepEqual(
    page.finished.map(({ cell, data }) => [cell.id, data.status]),
    [
      ['cell-1', 'aborted'],
      ['cell-2', 'aborted'],
      ['cell-3', 'ok']
    ]
  );
  page.kernel.end(waiting);
  assert.equal(page.finished.length, 3);
});

test('the end of a run that was lost with the connection is left to the server half, where it follows runs', () => {
  page.track(new RunTracker(cells, page.log, page.clock, true));
  const lost = page.request('cell-1');
  page.input(lost);
  page.tracker.connectionLost();
  page.receive('shell', 'kernel_info_reply', {}, page.kernel.send('shell', 'kernel_info_request', {}));
  assert.equal(page.tracker.open, 0);
  // An end that the page made up would be the first of its id, and the true one its duplicate.
  assert.equal(page.finished.length, 0);
  assert.equal(page.log.connected, 1);
  page.input(page.request('cell-2'));
  page.tracker.disconnected();
  assert.equal(page.finished.length, 0);
  assert.equal(page.tracker.open, 0);
  page.input(page.request('cell-3'));
  page.tracker.kernelGone();
  assert.deepEqual(page.ends(), [['aborted', undefined]]);
});

test('answers without a loss of the connection end no other run', () => {
  // Some kernels answer questions about themselves while they execute.
  const run = page.request('cell-1');
  page.input(run);
  const info = page.kernel.send('shell', 'kernel_info_request', {});
  page.receive('shell', 'kernel_info_reply', {}, info);
  assert.equal(page.tracker.open, 1);
});

test('a restart by another page ends what ran, and what was never executed once a later run is answered', () => {
  const ran = page.request('cell-1');
  page.input(ran);
  page.request('cell-2');
  page.receive('iopub', 'status', { execution_state: 'starting' });
  assert.deepEqual(
    page.finished.map(({ cell, data }) => [cell.id, data.status]),
    [['cell-1', 'aborted']]
  );
  page.kernel.end(page.request('cell-3'));
  assert.deepEqual(
    page.finished.slice(1).map(({ cell, data }) => [cell.id, data.status]),
    [
      ['cell-2', 'aborted'],
      ['cell-3', 'ok']
    ]
  );
});

test('a kernel that says that it starts does not end the run that waits for it', () => {
  const run = page.request('cell-1');
  page.receive('iopub', 'status', { execution_state: 'starting' });
  page.clock.advance(60_000);
  assert.equal(page.finished.length, 0);
  page.input(run);
  page.kernel.end(run);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
});

test('a run that waits for input goes on', () => {
  const run = page.request('cell-1', 'input()');
  page.input(run);
  page.receive('stdin', 'input_request', { prompt: '?' }, run);
  page.clock.advance(600_000);
  assert.equal(page.tracker.running?.cell.id, 'cell-1');
  page.kernel.send('stdin', 'input_reply', { value: '1' }, run);
  page.kernel.end(run);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
});

test('runs that go on after the page is left are not ended by it', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.reply(run, { status: 'ok' });
  page.request('cell-2');
  page.tracker.handOver();
  page.clock.advance(60_000);
  page.tracker.kernelGone();
  assert.equal(page.finished.length, 0);
  assert.equal(page.clock.waiting, 0);
});
