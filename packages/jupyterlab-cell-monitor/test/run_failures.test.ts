import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

test('an error has its traceback, without colours', () => {
  const run = page.request('cell-1');
  page.input(run);
  const error = { ename: 'NameError', evalue: "name 'x'", traceback: ['\u001b[31mTraceback\u001b[0m', 'line 1'] };
  page.receive('iopub', 'error', error, run);
  page.reply(run, { status: 'error', ...error });
  page.idle(run);
  assert.equal(page.finished[0]?.data.status, 'error');
  assert.deepEqual(page.finished[0]?.data.error, { name: 'NameError', value: "name 'x'", traceback: 'Traceback\nline 1' });
});

test('an error that the reply does not name is the one that the student sees', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.kernel.show(run, 'AttributeError');
  page.kernel.end(run, { status: 'error', ename: 'NoneType', evalue: 'None', traceback: [] });
  assert.deepEqual(page.ends(), [['error', 'AttributeError']]);
});

test('the traceback of a deep recursion keeps both ends', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.reply(run, {
    status: 'error',
    ename: 'RecursionError',
    evalue: 'い'.repeat(5000),
    traceback: ['first', ...Array.from({ length: 5000 }, () => '中'.repeat(20)), 'last']
  });
  page.idle(run);
  const error = page.finished[0]?.data.error;
  assert.ok(error);
  assert.ok(error.traceback.startsWith('first') && error.traceback.endsWith('last'));
  assert.ok(Buffer.byteLength(error.traceback) <= 16384);
  assert.ok(Buffer.byteLength(error.value) <= 2048);
  assert.equal(error.truncated, true);
});

test('cells skipped after an error are aborted and have no duration', () => {
  const run = page.request('cell-1');
  page.reply(run, { status: 'aborted' });
  page.idle(run);
  assert.equal(page.finished[0]?.data.status, 'aborted');
  assert.ok(!('duration_ms' in (page.finished[0]?.data ?? {})));
  assert.deepEqual(page.started, []);
});

test('an interrupted cell is aborted, not failed', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.reply(run, { status: 'error', ename: 'KeyboardInterrupt', evalue: '', traceback: [] });
  page.idle(run);
  assert.equal(page.finished[0]?.data.status, 'aborted');
});

test('a traceback that the student sees makes a failure of a run whose reply is ok', () => {
  // %run, %%capture, %%time and showtraceback.
  const run = page.request('cell-1', '%run fails.py');
  page.input(run);
  page.kernel.show(run, 'NameError');
  page.kernel.end(run);
  assert.deepEqual(page.ends(), [['error', 'NameError']]);
  assert.equal(page.finished[0]?.data.error?.traceback, 't');
});

test('an interrupt inside %run is an interrupt, and a run that goes on after an error ends as it ends', () => {
  const interrupted = page.request('cell-1', '%run endless.py');
  page.input(interrupted);
  page.kernel.show(interrupted, 'KeyboardInterrupt');
  page.kernel.end(interrupted);
  const both = page.request('cell-2', '%run fails.py\n1 / 0');
  page.input(both);
  page.kernel.show(both, 'NameError');
  page.kernel.show(both, 'ZeroDivisionError');
  page.kernel.end(both, { status: 'error', ename: 'ZeroDivisionError', evalue: 'v', traceback: [] });
  assert.deepEqual(page.ends(), [
    ['aborted', 'KeyboardInterrupt'],
    ['error', 'ZeroDivisionError']
  ]);
});

test('an error that the run itself cleared is not one that the student sees', () => {
  const run = page.request('cell-1', '%run fails.py\nclear_output()');
  page.input(run);
  page.kernel.show(run, 'NameError');
  page.receive('iopub', 'clear_output', { wait: false }, run);
  page.kernel.end(run);
  // Unless the run failed: its reply is an error, whatever was cleared before.
  const failed = page.request('cell-1');
  page.input(failed);
  page.receive('iopub', 'clear_output', { wait: true }, failed);
  page.kernel.end(failed, { status: 'error', ename: 'ValueError', evalue: '', traceback: [] });
  assert.deepEqual(page.ends(), [
    ['ok', undefined],
    ['error', 'ValueError']
  ]);
});

test('a traceback that was caught and printed is text', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.kernel.print(run, 'Traceback (most recent call last):\nZeroDivisionError: division by zero\n');
  page.kernel.end(run);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
});

test('a cell that its author lets fail is marked, whether it fails or not', () => {
  const metadata = { tags: ['hide-input', 'raises-exception'] };
  const fails = page.request('cell-1', '1 / 0', metadata);
  page.input(fails);
  page.kernel.show(fails, 'ZeroDivisionError');
  page.kernel.end(fails, { status: 'error', ename: 'ZeroDivisionError', evalue: 'v', traceback: ['t'] });
  page.kernel.end(page.request('cell-1', '1', metadata));
  page.kernel.end(page.request('cell-2', '1', { tags: 'raises-exception' }));
  assert.deepEqual(
    page.finished.map(({ data }) => [data.status, data.error_expected]),
    [
      ['error', true],
      ['ok', true],
      ['ok', undefined]
    ]
  );
});
