import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { RunTracker } from '../src/capture/runs';
import { cells } from './kernel_messages';
import { SharedCell, TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

const failure = { type: 'error', content: { ename: 'ZeroDivisionError', evalue: 'division by zero', traceback: ['t'] } };

test('a run whose request this page sends is not reported again by the notebook', () => {
  const cell = new SharedCell();
  page.tracker.scheduled('cell-1', cell);
  cell.running = true;
  page.tracker.cellChanged('cell-1');
  const run = page.request('cell-1');
  page.clock.advance(10);
  page.tracker.cellChanged('cell-1');
  assert.deepEqual(page.started, []);
  page.input(run);
  page.kernel.end(run);
  page.tracker.executed('cell-1', true, undefined);
  page.clock.advance(60_000);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
  assert.equal(page.started.length, 1);
});

test('a run that the server executes starts and ends as its cell shows', () => {
  const cell = new SharedCell();
  cell.executionCount = 4;
  page.tracker.scheduled('cell-1', cell);
  page.clock.advance(3000);
  assert.deepEqual(page.started, [], 'it waits for its turn');
  cell.executionCount = null;
  cell.running = true;
  page.tracker.cellChanged('cell-1');
  page.tracker.cellChanged('cell-1');
  assert.equal(page.started.length, 1);
  assert.equal(page.tracker.running?.cell.id, 'cell-1');
  page.clock.advance(700);
  cell.outputs = [{ type: 'stream', content: { name: 'stdout', text: ['a', 'b'] } }, failure];
  page.tracker.cellChanged('cell-1');
  cell.running = false;
  cell.executionCount = 5;
  page.tracker.cellChanged('cell-1');
  page.tracker.executed('cell-1', false, undefined);
  const [run] = page.finished;
  assert.deepEqual(run?.data.error, { name: 'ZeroDivisionError', value: 'division by zero', traceback: 't' });
  assert.deepEqual([run?.data.status, run?.data.duration_ms, run?.data.execution_count], ['error', 700, 5]);
  assert.equal(run?.data.outputs[0]?.text, 'ab');
  assert.deepEqual(page.started, [run?.data.execution_id]);
});

test('the end of a run of the server waits for what the notebook has not received yet', () => {
  // The answer to the request and the outputs come through different connections.
  const cell = new SharedCell();
  cell.executionCount = 4;
  page.tracker.scheduled('cell-1', cell);
  page.clock.advance(50);
  page.tracker.executed('cell-1', false, undefined);
  page.clock.advance(500);
  assert.equal(page.finished.length, 0);
  cell.outputs = [failure];
  cell.executionCount = 5;
  page.tracker.cellChanged('cell-1');
  assert.deepEqual(page.ends(), [['error', 'ZeroDivisionError']]);
  page.clock.advance(60_000);
  assert.equal(page.finished.length, 1);
  assert.equal(page.started.length, 1);
});

test('a failure that the server reports and that the student reads as plain text is one', () => {
  const cell = new SharedCell();
  page.tracker.scheduled('cell-1', cell);
  page.clock.advance(50);
  cell.running = true;
  page.tracker.cellChanged('cell-1');
  cell.outputs = [{ type: 'stream', content: { name: 'stderr', text: 'UsageError: Line magic function' } }];
  cell.executionCount = 1;
  cell.running = false;
  page.tracker.executed('cell-1', false, undefined);
  page.clock.advance(2500);
  assert.deepEqual(page.ends(), [['error', 'UsageError']]);
});

test('the end of a failed run comes before the next run, also where the notebook shows late or never why it failed', () => {
  const usage = { type: 'stream', content: { name: 'stderr', text: 'UsageError: Line magic function `%x` not found.' } };
  for (const [outputs, name] of [
    [[usage], 'UsageError'],
    [[{ type: 'stream', content: { name: 'stderr', text: 'it failed' } }], 'Error']
  ] as const) {
    page.begin();
    const failing = new SharedCell();
    const next = new SharedCell();
    page.tracker.scheduled('cell-1', failing);
    page.clock.advance(50);
    failing.running = true;
    page.tracker.cellChanged('cell-1');
    failing.outputs = [...outputs];
    failing.executionCount = 1;
    failing.running = false;
    page.tracker.executed('cell-1', false, undefined);
    page.clock.advance(300);
    page.tracker.scheduled('cell-2', next);
    page.clock.advance(50);
    next.running = true;
    page.tracker.cellChanged('cell-2');
    next.executionCount = 2;
    next.running = false;
    page.tracker.executed('cell-2', true, undefined);
    page.clock.advance(10_000);
    assert.deepEqual(page.ends(), [
      ['error', name],
      ['ok', undefined]
    ]);
    assert.deepEqual(
      page.finished.map(({ cell }) => cell.id),
      ['cell-1', 'cell-2']
    );
  }
});

test('a run that the server skipped is aborted, and so is one that no kernel executed', () => {
  const skipped = new SharedCell();
  page.tracker.scheduled('cell-1', skipped);
  page.clock.advance(50);
  page.tracker.executed('cell-1', false, undefined);
  page.clock.advance(2500);
  const starting = new SharedCell();
  starting.kernelId = null;
  page.tracker.scheduled('cell-2', starting);
  // JupyterLab says that it succeeded.
  page.tracker.executed('cell-2', true, undefined);
  assert.deepEqual(
    page.finished.map(({ data }) => [data.status, 'duration_ms' in data]),
    [
      ['aborted', false],
      ['aborted', false]
    ]
  );
  assert.deepEqual(page.started, []);
  assert.equal(page.tracker.open, 0);
});

test('a restart ends a run that the server executes, and a late answer does not end it again', () => {
  const cell = new SharedCell();
  page.tracker.scheduled('cell-1', cell);
  page.clock.advance(50);
  cell.running = true;
  page.tracker.cellChanged('cell-1');
  page.tracker.kernelGone();
  page.tracker.executed('cell-1', false, undefined);
  page.clock.advance(60_000);
  assert.deepEqual(page.ends(), [['aborted', undefined]]);
  assert.equal(page.clock.waiting, 0);
});

test('a blank cell and a cell of another notebook are no runs', () => {
  const blank = new SharedCell();
  blank.code = ' \n';
  page.tracker.scheduled('cell-1', blank);
  page.tracker.executed('cell-1', true, undefined);
  page.tracker.scheduled('elsewhere', new SharedCell());
  page.tracker.executed('elsewhere', true, undefined);
  assert.equal(page.finished.length, 0);
  assert.equal(page.tracker.open, 0);
});

test('a run that a program asks for is no act of the student', () => {
  let own = true;
  page.track(new RunTracker(cells, page.log, page.clock, false, () => own));
  for (own of [true, false]) {
    const run = page.request('cell-1', 'a');
    page.input(run);
    page.reply(run, { status: 'ok' });
    page.idle(run);
  }
  assert.deepEqual(page.log.queued, [false, true]);
});
