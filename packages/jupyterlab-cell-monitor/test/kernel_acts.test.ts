// Hazard: what somebody does to the kernel is taken for what a cell does, or the other way round.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { interruptedKernel } from '../src/capture/interrupts';
import { newsOf } from '../src/capture/kernel';
import { errorOnStderr } from '../src/capture/outputs';
import { RunTracker } from '../src/capture/runs';
import { StillClock } from './clock';
import { cells, Kernel, RunLog } from './kernel_messages';

let clock: StillClock;
let log: RunLog;
let tracker: RunTracker;
let kernel: Kernel;

beforeEach(() => {
  clock = new StillClock();
  log = new RunLog();
  tracker = new RunTracker(cells, log, clock, false);
  kernel = new Kernel(tracker, clock);
});

const ends = (): unknown[] => log.finished.map(({ data }) => [data.status, data.error?.name]);
const running = (): string | null => tracker.running?.id ?? null;
const raised = (ename: string) => ({ status: 'error', ename, evalue: 'v', traceback: [] });

/** A console's request: the kernel executes it, and this page did not send it. */
const others = (state: 'busy' | 'idle', id = 'console-1'): void =>
  kernel.status(state, { id, type: 'execute_request' });

test('an interrupt that arrives as another exception is one, and the same exception without it is a failure', () => {
  for (const name of ['CalledProcessError', 'CancelledError', 'RuntimeError']) {
    const run = kernel.request('cell-1');
    kernel.input(run);
    tracker.interrupted();
    kernel.show(run, name);
    kernel.end(run, raised(name));
    const again = kernel.request('cell-1');
    kernel.input(again);
    kernel.show(again, name);
    kernel.end(again, raised(name));
  }
  assert.deepEqual(
    ends(),
    ['CalledProcessError', 'CancelledError', 'RuntimeError'].flatMap(name => [
      ['aborted', name],
      ['error', name]
    ])
  );
});

test('an interrupt that the code survives leaves the run what it is', () => {
  const run = kernel.request('cell-1');
  kernel.input(run);
  tracker.interrupted();
  kernel.end(run);
  assert.deepEqual(ends(), [['ok', undefined]]);
});

test('an interrupt is of the run that the kernel executes, not of those behind it or of a console before it', () => {
  const first = kernel.request('cell-1');
  const second = kernel.request('cell-2');
  kernel.input(first);
  tracker.interrupted();
  kernel.end(first);
  kernel.input(second);
  kernel.end(second, raised('ValueError'));
  others('busy');
  const third = kernel.request('cell-3');
  tracker.interrupted();
  others('idle');
  kernel.input(third);
  kernel.end(third, raised('ValueError'));
  assert.deepEqual(ends(), [
    ['ok', undefined],
    ['error', 'ValueError'],
    ['error', 'ValueError']
  ]);
});

test('an interrupt is known from the server, which any client may ask, and from messages to the kernel', () => {
  const event = {
    schema_id: 'https://events.jupyter.org/jupyter_server/kernel_actions/v1',
    action: 'interrupt',
    status: 'success',
    kernel_id: 'kernel-1'
  };
  assert.equal(interruptedKernel(event), 'kernel-1');
  assert.equal(interruptedKernel({ ...event, status: 'error' }), null);
  assert.equal(interruptedKernel({ ...event, action: 'restart' }), null);
  assert.equal(interruptedKernel({ ...event, schema_id: 'https://example.org/other' }), null);
  assert.equal(interruptedKernel({ ...event, kernel_id: 7 }), null);
  assert.equal(newsOf(kernel.message('control', 'interrupt_request', {})), 'interrupt');
  const status = (state: string, type: string) =>
    newsOf(kernel.message('iopub', 'status', { execution_state: state }, { id: 'other', type }));
  assert.equal(status('busy', 'interrupt_request'), 'interrupt');
  assert.equal(status('idle', 'interrupt_request'), null);
  assert.equal(status('busy', 'debug_request'), null);
  assert.equal(status('busy', 'shutdown_request'), 'shutdown');
});

test('a run ends when its kernel is shut down, not when its process is gone, and one that waits may be executed yet', () => {
  const first = kernel.request('cell-1');
  const second = kernel.request('cell-2');
  kernel.input(first);
  tracker.processGone();
  assert.deepEqual(ends(), [['aborted', undefined]]);
  kernel.input(second);
  kernel.end(second);
  assert.deepEqual(ends()[1], ['ok', undefined]);
});

test('a cell that calls quit() has killed the kernel, and its run was aborted with it', () => {
  for (let count = 0; count < 3; count++) {
    const run = kernel.request('cell-1', 'quit()');
    kernel.input(run);
    kernel.end(run, { status: 'ok', payload: [{ source: 'ask_exit', keepkernel: false }] });
    clock.advance(3000);
    assert.equal(running(), 'cell-1', 'it ran when the kernel ended');
    tracker.kernelGone();
    assert.equal(running(), null);
  }
  assert.deepEqual(ends(), Array(3).fill(['aborted', undefined]));
});

test('a cell that asks for its end and keeps its kernel, or whose kernel does not end, is an ordinary run', () => {
  const kept = kernel.request('cell-1', 'exit(True)');
  kernel.input(kept);
  kernel.end(kept, { status: 'ok', payload: [{ source: 'ask_exit', keepkernel: true }] });
  assert.deepEqual(ends(), [['ok', undefined]]);
  const alive = kernel.request('cell-1', 'quit()');
  kernel.input(alive);
  kernel.end(alive, { status: 'ok', payload: [{ source: 'ask_exit', keepkernel: false }] });
  clock.advance(60_000);
  assert.deepEqual(ends()[1], ['ok', undefined]);
  assert.equal(tracker.open, 0);
});

test("a cell that waits behind a console's run has not started, is queued, and did not kill the kernel", () => {
  others('busy');
  const run = kernel.request('cell-1');
  assert.deepEqual(log.started, []);
  assert.equal(running(), null);
  others('idle', 'console-0');
  assert.equal(running(), null, 'the console still runs');
  others('idle');
  assert.equal(running(), 'cell-1');
  kernel.input(run);
  kernel.end(run);
  assert.deepEqual(log.queued, [true]);
  assert.deepEqual(ends(), [['ok', undefined]]);
});

test('an error that is text on stderr has the name and the value that the student reads', () => {
  const stderr = (...texts: string[]) => texts.map(text => ({ type: 'stream', content: { name: 'stderr', text } }));
  const named = errorOnStderr(stderr('a warning\n\u001b[31mUsageError\u001b[0m: Line magic function `%x` not found.\n'));
  assert.deepEqual([named.name, named.value], ['UsageError', 'Line magic function `%x` not found.']);
  assert.match(named.traceback, /^a warning\nUsageError: /u);
  const plain = errorOnStderr(stderr('first', 'no such file\n'));
  assert.deepEqual([plain.name, plain.value], ['Error', 'no such file']);
  const none = errorOnStderr([{ type: 'stream', content: { name: 'stdout', text: 'UsageError: printed' } }]);
  assert.deepEqual([none.name, none.value], ['Error', '']);
});
