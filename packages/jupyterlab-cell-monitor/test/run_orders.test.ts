import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { IKernelMessage } from '../src/capture/request';
import { TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

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
    input: run => page.input(run),
    print: run => page.kernel.print(run, run),
    error: run => page.kernel.show(run, 'E'),
    interrupt: run => page.kernel.show(run, 'KeyboardInterrupt'),
    clear: run => page.receive('iopub', 'clear_output', { wait: false }, run),
    idle: run => page.idle(run),
    ok: run => page.reply(run, { status: 'ok' }),
    fail: run => page.reply(run, { status: 'error', ename: 'E', evalue: 'v', traceback: [] }),
    abort: run => page.reply(run, { status: 'aborted' })
  };
  const noise: (() => void)[] = [
    () => page.idle(page.kernel.send('control', 'debug_request', {})),
    () => page.receive('iopub', 'status', { execution_state: 'idle' }),
    () => page.kernel.end('22222222-2222-4222-8222-222222222222'),
    () => page.clock.advance(20),
    () => page.receive('shell', 'kernel_info_reply', {}, page.kernel.send('shell', 'kernel_info_request', {}))
  ];
  fc.assert(
    fc.property(
      fc.array(answers, { minLength: 1, maxLength: 5 }),
      fc.infiniteStream(fc.nat(1000)),
      (expected, choices) => {
        page.begin();
        const next = (bound: number): number => (choices.next().value as number) % bound;
        const runs = expected.map((answer, n) => ({ id: page.request(`cell-${n}`), iopub: [...answer.iopub], shell: [...answer.shell] }));
        for (;;) {
          const queues = runs.flatMap(run => [run.iopub, run.shell].filter(queue => queue.length > 0).map(queue => ({ run, queue })));
          const chosen = queues[next(queues.length || 1)];
          if (!chosen) {
            break;
          }
          (noise[next(noise.length * 3)] ?? (() => undefined))();
          act[chosen.queue.shift() as string]?.(chosen.run.id);
        }
        page.clock.advance(60_000);
        const outcomes = new Map(page.log.finished.map(({ data }) => [data.execution_id, data.status]));
        assert.equal(page.log.finished.length, runs.length);
        assert.equal(outcomes.size, runs.length);
        runs.forEach((run, n) => assert.equal(outcomes.get(run.id), expected[n]?.outcome));
        assert.equal(new Set(page.log.started).size, page.log.started.length);
        assert.ok(page.log.finished.every(({ data }) => data.outputs.every(output => output.text === data.execution_id)));
        assert.equal(page.tracker.open, 0);
        assert.equal(page.clock.waiting, 0);
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
      page.begin();
      const sent: IKernelMessage[] = [];
      const ended = (): Map<string, number> => {
        const times = new Map<string, number>();
        page.log.finished.forEach(({ data }) => times.set(data.execution_id, (times.get(data.execution_id) ?? 0) + 1));
        return times;
      };
      for (const [name, which] of steps) {
        const run = sent[which]?.header.msg_id ?? 'none';
        switch (name) {
          case 'request': {
            const next = page.kernel.message('shell', 'execute_request', { code: 'x' }, undefined, { cellId: 'cell-1' });
            page.tracker.message(next, 'send');
            sent.unshift(next);
            break;
          }
          case 'announce': // a message that waited for its connection may be announced again
            if (sent[which] && !ended().has(run)) {
              page.tracker.message(sent[which], 'send');
            }
            break;
          case 'input':
            page.input(run);
            break;
          case 'stream':
            page.kernel.print(run, 'x');
            break;
          case 'error':
            page.kernel.show(run, 'E');
            break;
          case 'ok':
          case 'fail':
          case 'abort':
            page.reply(run, { status: { ok: 'ok', fail: 'error', abort: 'aborted' }[name] });
            break;
          case 'idle':
            page.idle(run);
            break;
          case 'gone':
            page.tracker.kernelGone();
            break;
          case 'lost':
            page.tracker.connectionLost();
            break;
          case 'asked':
            page.receive('shell', 'kernel_info_reply', {}, page.kernel.send('shell', 'kernel_info_request', {}));
            break;
          case 'starting':
            page.receive('iopub', 'status', { execution_state: 'starting' });
            break;
          default:
            page.clock.advance(500);
        }
      }
      page.tracker.kernelGone();
      page.clock.advance(60_000);
      const times = ended();
      assert.equal(times.size, sent.length);
      assert.ok([...times.values()].every(count => count === 1));
      assert.equal(new Set(page.log.started).size, page.log.started.length);
      assert.ok(page.log.started.every(id => times.has(id)));
      assert.equal(page.tracker.open, 0);
      assert.equal(page.clock.waiting, 0);
    }),
    { numRuns: 400 }
  );
});
