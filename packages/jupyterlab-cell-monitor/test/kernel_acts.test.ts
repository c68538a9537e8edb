// Hazard: what somebody does to the kernel is taken for what a cell does, or the other way round.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { interruptedKernel } from '../src/capture/interrupts';
import { newsOf } from '../src/capture/kernel';
import { errorOnStderr } from '../src/capture/outputs';
import { TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

const running = (): string | null => page.tracker.running?.cell.id ?? null;
const raised = (ename: string) => ({ status: 'error', ename, evalue: 'v', traceback: [] });

/** A console's request: the kernel executes it, and this page did not send it. */
const others = (state: 'busy' | 'idle', id = 'console-1'): void =>
  page.kernel.status(state, { id, type: 'execute_request' });

test('an interrupt that arrives as another exception is one, and the same exception without it is a failure', () => {
  for (const name of ['CalledProcessError', 'CancelledError', 'RuntimeError']) {
    const run = page.request('cell-1');
    page.input(run);
    page.tracker.interrupted();
    page.kernel.show(run, name);
    page.kernel.end(run, raised(name));
    const again = page.request('cell-1');
    page.input(again);
    page.kernel.show(again, name);
    page.kernel.end(again, raised(name));
  }
  assert.deepEqual(
    page.ends(),
    ['CalledProcessError', 'CancelledError', 'RuntimeError'].flatMap(name => [
      ['aborted', name],
      ['error', name]
    ])
  );
});

test('an interrupt that the code survives leaves the run what it is', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.tracker.interrupted();
  page.kernel.end(run);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
});

test('an interrupt is of the run that the kernel executes, not of those behind it or of a console before it', () => {
  const first = page.request('cell-1');
  const second = page.request('cell-2');
  page.input(first);
  page.tracker.interrupted();
  page.kernel.end(first);
  page.input(second);
  page.kernel.end(second, raised('ValueError'));
  others('busy');
  const third = page.request('cell-3');
  page.tracker.interrupted();
  others('idle');
  page.input(third);
  page.kernel.end(third, raised('ValueError'));
  assert.deepEqual(page.ends(), [
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
  assert.equal(newsOf(page.kernel.message('control', 'interrupt_request', {})), 'interrupt');
  const status = (state: string, type: string) =>
    newsOf(page.kernel.message('iopub', 'status', { execution_state: state }, { id: 'other', type }));
  assert.equal(status('busy', 'interrupt_request'), 'interrupt');
  assert.equal(status('idle', 'interrupt_request'), null);
  assert.equal(status('busy', 'debug_request'), null);
  assert.equal(status('busy', 'shutdown_request'), 'shutdown');
});

test('a run ends when its kernel is shut down, not when its process is gone, and one that waits may be executed yet', () => {
  const first = page.request('cell-1');
  const second = page.request('cell-2');
  page.input(first);
  page.tracker.processGone();
  assert.deepEqual(page.ends(), [['aborted', undefined]]);
  page.input(second);
  page.kernel.end(second);
  assert.deepEqual(page.ends()[1], ['ok', undefined]);
});

test('a cell that calls quit() has killed the kernel, and its run was aborted with it', () => {
  for (let count = 0; count < 3; count++) {
    const run = page.request('cell-1', 'quit()');
    page.input(run);
    page.kernel.end(run, { status: 'ok', payload: [{ source: 'ask_exit', keepkernel: false }] });
    page.clock.advance(3000);
    assert.equal(running(), 'cell-1', 'it ran when the kernel ended');
    page.tracker.kernelGone();
    assert.equal(running(), null);
  }
  assert.deepEqual(page.ends(), Array(3).fill(['aborted', undefined]));
});

test('a cell has killed the kernel also where its reply died with it, after its idle status', () => {
  const run = page.request('cell-1', 'quit()');
  const waiting = page.request('cell-2');
  page.input(run);
  page.idle(run);
  assert.equal(running(), 'cell-1');
  page.tracker.kernelGone();
  assert.deepEqual(page.ends(), Array(2).fill(['aborted', undefined]));
  assert.notEqual(waiting, run);
  // An error that the student sees is the end of the run, whatever happens to the kernel after it.
  const failed = page.request('cell-1');
  page.input(failed);
  page.kernel.show(failed, 'ValueError');
  page.idle(failed);
  assert.equal(running(), null);
  page.tracker.kernelGone();
  assert.deepEqual(page.ends()[2], ['error', 'ValueError']);
  // The kernel went on to another run, and that one killed it.
  const before = page.request('cell-1');
  const after = page.request('cell-2');
  page.input(before);
  page.idle(before);
  page.input(after);
  assert.equal(running(), 'cell-2');
});

test('a cell that asks for its end and keeps its kernel, or whose kernel does not end, is an ordinary run', () => {
  const kept = page.request('cell-1', 'exit(True)');
  page.input(kept);
  page.kernel.end(kept, { status: 'ok', payload: [{ source: 'ask_exit', keepkernel: true }] });
  assert.deepEqual(page.ends(), [['ok', undefined]]);
  const alive = page.request('cell-1', 'quit()');
  page.input(alive);
  page.kernel.end(alive, { status: 'ok', payload: [{ source: 'ask_exit', keepkernel: false }] });
  page.clock.advance(60_000);
  assert.deepEqual(page.ends()[1], ['ok', undefined]);
  assert.equal(page.tracker.open, 0);
});

test("a cell that waits behind a console's run has not started, is queued, and did not kill the kernel", () => {
  others('busy');
  const run = page.request('cell-1');
  assert.deepEqual(page.log.started, []);
  assert.equal(running(), null);
  others('idle', 'console-0');
  assert.equal(running(), null, 'the console still runs');
  others('idle');
  assert.equal(running(), 'cell-1');
  page.input(run);
  page.kernel.end(run);
  assert.deepEqual(page.log.queued, [true]);
  assert.deepEqual(page.ends(), [['ok', undefined]]);
});

test('a cell of a page that was opened while another one ran did not kill the kernel and was not interrupted before it began', () => {
  page.tracker.connectionLost();
  const run = page.request('cell-1');
  assert.equal(running(), null, 'the kernel has not answered this page: it may execute what another page sent');
  page.tracker.interrupted(); // of the other one
  page.input(run);
  assert.equal(running(), 'cell-1');
  page.kernel.show(run, 'ZeroDivisionError');
  page.kernel.end(run, raised('ZeroDivisionError'));
  assert.deepEqual(page.ends(), [['error', 'ZeroDivisionError']]);
  // It has answered: from now on the page receives what it does for others.
  page.request('cell-2');
  assert.equal(running(), 'cell-2');
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
