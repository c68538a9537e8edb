import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { CellExecutedData } from '../src/events/types';
import { SharedCell, TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

test('a run has the times of the kernel, not of the browser', () => {
  const run = page.request('cell-1', 'compute()');
  page.clock.advance(5000); // it waited for another cell
  page.input(run, 7);
  const startedAt = new Date(page.clock.time).toISOString();
  page.clock.advance(1234);
  page.receive('iopub', 'stream', { name: 'stdout', text: 'done' }, run);
  page.reply(run, { status: 'ok', execution_count: 7 }, { started: startedAt });
  page.clock.advance(700); // the reply arrived late
  assert.equal(page.finished.length, 0, 'outputs may still come');
  page.idle(run);
  assert.equal(page.finished.length, 1);
  const { data } = page.finished[0] as { data: CellExecutedData };
  assert.equal(data.status, 'ok');
  assert.equal(data.duration_ms, 1234);
  assert.equal(data.started_at, startedAt);
  assert.equal(data.execution_count, 7);
  assert.equal(data.code, 'compute()');
  assert.equal(data.outputs[0]?.text, 'done');
  assert.deepEqual(page.started, [data.execution_id]);
});

test('the same cell run twice before the first run ended is two runs', () => {
  const [first, second] = [page.request('cell-1', 'a'), page.request('cell-1', 'b')];
  page.input(first);
  page.reply(first, { status: 'ok' });
  page.idle(first);
  page.input(second);
  page.receive('iopub', 'stream', { name: 'stdout', text: 'second' }, second);
  page.reply(second, { status: 'ok' });
  page.idle(second);
  assert.deepEqual(
    page.finished.map(run => [run.data.code, run.data.outputs.length]),
    [
      ['a', 0],
      ['b', 1]
    ]
  );
  assert.notEqual(page.finished[0]?.data.execution_id, page.finished[1]?.data.execution_id);
});

test('code is cut at its limit and marked, and code within the limit is neither', () => {
  // The contract allows 16,384 bytes of code; each of these characters is three bytes.
  const longest = 'あ'.repeat(5461) + 'x';
  for (const code of [longest, `${longest}y`]) {
    const run = page.request('cell-1', code);
    page.input(run);
    page.reply(run, { status: 'ok' });
    page.idle(run);
  }
  assert.deepEqual(
    page.finished.map(({ data }) => [data.code, data.code_truncated]),
    [
      [longest, undefined],
      [longest, true]
    ]
  );
});

test('a run with more outputs than fit is marked, and one with as many as fit is not', () => {
  // The contract allows 20 outputs.
  for (const count of [20, 21]) {
    const run = page.request('cell-1');
    page.input(run);
    for (let index = 0; index < count; index++) {
      page.receive('iopub', 'display_data', { data: { 'text/plain': `${index}` } }, run);
    }
    page.reply(run, { status: 'ok' });
    page.idle(run);
  }
  assert.deepEqual(
    page.finished.map(({ data }) => [data.outputs.length, data.outputs_truncated]),
    [
      [20, undefined],
      [20, true]
    ]
  );
});

test('a run that begins after the student went on to another cell does not bring them back to its own', () => {
  // The kernel is starting: JupyterLab keeps the request back.
  page.tracker.scheduled('cell-1', new SharedCell());
  page.clock.advance(1500);
  page.log.lastAct = page.clock.monotonic(); // a click on another cell
  page.clock.advance(500);
  const late = page.request('cell-1');
  page.input(late);
  page.kernel.end(late);
  const prompt = page.request('cell-2');
  page.input(prompt);
  page.kernel.end(prompt);
  assert.deepEqual(page.log.queued, [true, false]);
});

test('a cell that kills the kernel before its start is known is the one that ran', () => {
  assert.deepEqual([page.tracker.running], [null]);
  const ended = page.request('cell-1');
  page.reply(ended, { status: 'ok' });
  const killer = page.request('cell-2');
  page.request('cell-3');
  assert.equal(page.tracker.running?.cell.id, 'cell-2');
  page.input(killer);
  assert.equal(page.tracker.running?.cell.id, 'cell-2');
  page.kernel.end(killer);
  assert.equal(page.tracker.running?.cell.id, 'cell-3');
});

test('a run that waits for another one is marked when it starts', () => {
  const [first, second] = [page.request('cell-1'), page.request('cell-2')];
  page.input(first);
  page.kernel.end(first);
  page.input(second);
  page.kernel.end(second);
  page.input(page.request('cell-3'));
  assert.deepEqual(page.log.queued, [false, true, false]);
});

test('help that is shown for a name is an output', () => {
  const run = page.request('cell-1', 'len?');
  page.input(run);
  page.kernel.end(run, { status: 'ok', payload: [{ source: 'page', data: { 'text/plain': 'Signature: len(obj)' } }] });
  assert.equal(page.finished[0]?.data.outputs[0]?.text, 'Signature: len(obj)');
});

test('a request that is announced twice, as after a reconnection, is one run', () => {
  const sent = page.kernel.message('shell', 'execute_request', { code: 'x' }, undefined, { cellId: 'cell-1' });
  page.tracker.message(sent, 'send');
  page.input(sent.header.msg_id);
  page.receive('iopub', 'stream', { name: 'stdout', text: 'x' }, sent.header.msg_id);
  page.tracker.message(sent, 'send');
  page.reply(sent.header.msg_id, { status: 'ok' });
  page.idle(sent.header.msg_id);
  assert.deepEqual(page.started, [page.finished[0]?.data.execution_id]);
  assert.equal(page.finished[0]?.data.outputs[0]?.text, 'x');
});

test('requests that are not of a cell of this notebook are not runs', () => {
  page.kernel.send('shell', 'execute_request', { code: 'x' });
  page.request('elsewhere');
  page.kernel.send('shell', 'execute_request', { silent: true }, undefined, { cellId: 'cell-1' });
  page.receive('iopub', 'stream', { name: 'stdout', text: 'a console' }, 'unknown');
  assert.equal(page.tracker.open, 0);
});
