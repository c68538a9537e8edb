import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputCollector } from '../src/capture/outputs';

const stream = (name: string, text: string) => ({ type: 'stream', content: { name, text } });

test('texts of one stream are one output, in order with other outputs', () => {
  const collector = new OutputCollector();
  collector.add(stream('stdout', 'a'));
  collector.add(stream('stdout', 'b'));
  collector.add({ type: 'display_data', content: { data: { 'text/plain': '<Figure>', 'image/png': 'x'.repeat(5000) } } });
  collector.add(stream('stdout', 'c'));
  assert.deepEqual(collector.records(), {
    outputs: [
      { type: 'stream', name: 'stdout', text: 'ab', size: 2 },
      { type: 'display', mime: 'image/png', text: '<Figure>', size: 5008 },
      { type: 'stream', name: 'stdout', text: 'c', size: 1 }
    ],
    truncated: false
  });
});

test('unlimited output is recorded as its start, its full size and the mark that it was cut', () => {
  const collector = new OutputCollector();
  for (let n = 0; n < 1000; n++) {
    collector.add(stream('stdout', 'x'.repeat(1000)));
  }
  const [output] = collector.records().outputs;
  assert.equal(output?.text, 'x'.repeat(8192));
  assert.equal(output?.size, 1_000_000);
  assert.equal(output?.truncated, true);
});

test('an output whose end was not kept is marked, although what it shows is short', () => {
  const collector = new OutputCollector();
  // A progress bar: each line overwrites the one before.
  for (let n = 0; n < 1000; n++) {
    collector.add(stream('stdout', `\r${'#'.repeat(98)}`));
  }
  collector.add(stream('stdout', '\rdone'));
  const [output] = collector.records().outputs;
  assert.notEqual(output?.text, 'done');
  assert.equal(output?.truncated, true);
});

test('alternating stdout and stderr do not fill the list of outputs', () => {
  const collector = new OutputCollector();
  for (let n = 0; n < 100; n++) {
    collector.add(stream(n % 2 ? 'stdout' : 'stderr', `${n}\n`));
  }
  const { outputs, truncated } = collector.records();
  assert.equal(outputs.length, 20);
  assert.equal(truncated, false);
  assert.match(outputs.map(output => output.text).join(''), /99\n/);
});

test('the twenty-first display is left out, and marked', () => {
  const collector = new OutputCollector();
  for (let n = 0; n < 25; n++) {
    collector.add({ type: 'display_data', content: { data: { 'text/plain': `${n}` } } });
  }
  const { outputs, truncated } = collector.records();
  assert.equal(outputs.length, 20);
  assert.equal(truncated, true);
});

test('cleared output is not reported', () => {
  const collector = new OutputCollector();
  collector.add(stream('stdout', 'old'));
  collector.add({ type: 'clear_output', content: { wait: true } });
  assert.equal(collector.records().outputs[0]?.text, 'old');
  collector.add(stream('stdout', 'new'));
  assert.deepEqual(
    collector.records().outputs.map(output => output.text),
    ['new']
  );
  collector.add({ type: 'clear_output', content: {} });
  assert.deepEqual(collector.records().outputs, []);
});

test('records keep their limits for any kernel output', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          type: fc.constantFrom('stream', 'execute_result', 'display_data', 'clear_output', 'error', 'other'),
          content: fc.dictionary(fc.constantFrom('name', 'text', 'data', 'wait'), fc.anything())
        })
      ),
      messages => {
        const collector = new OutputCollector();
        messages.forEach(message => collector.add(message));
        for (const output of collector.records().outputs) {
          assert.equal(typeof output.text, 'string');
          assert.ok(Buffer.byteLength(output.text) <= 8192);
          assert.ok(Number.isSafeInteger(output.size) && output.size >= 0);
          assert.ok((output.name ?? '').length <= 64);
        }
      }
    )
  );
});
