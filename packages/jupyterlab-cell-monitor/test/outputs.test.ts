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

test('a long progress bar is recorded as it looks at the end, and nothing of it is missing', () => {
  const collector = new OutputCollector();
  for (let n = 0; n < 1000; n++) {
    collector.add(stream('stdout', `\r${'#'.repeat(98)}`));
  }
  collector.add(stream('stdout', '\rdone'));
  const [output] = collector.records().outputs;
  // What is shorter than the line that it overwrites leaves the rest of it, as in JupyterLab.
  assert.equal(output?.text, `done${'#'.repeat(94)}`);
  assert.equal(output?.truncated, undefined);
});

test('control characters of a stream act across its messages as they do in JupyterLab', () => {
  const shown = (...texts: string[]): string | undefined => {
    const collector = new OutputCollector();
    texts.forEach(text => collector.add(stream('stdout', text)));
    return collector.records().outputs[0]?.text;
  };
  assert.equal(shown('start\n 10%\r 50%\r100%\nend'), 'start\n100%\nend');
  assert.equal(shown('0 %', '\r', '33 %', '\r', '100 %'), '100 %');
  assert.equal(shown('dos\r', '\nlines\r\n'), 'dos\nlines\n');
  assert.equal(shown('50%\r'), '50%');
  assert.equal(shown('12', '\b\b', '34'), '34');
  assert.equal(shown('|', '\b/', '\b-', '\b\\', '\b \b'), '');
  assert.equal(shown('line\n', '\b\b\bx'), 'line\nx');
  assert.equal(shown('abc\r', '\b', 'x'), 'xbc');
  assert.equal(shown('abc\rx', '\n', 'y'), 'xbc\ny');
});

test('a line without an end is recorded as its start and marked', () => {
  const collector = new OutputCollector();
  for (let n = 0; n < 100; n++) {
    collector.add(stream('stdout', 'x'.repeat(1000)));
  }
  collector.add(stream('stdout', '\b\b'));
  const [output] = collector.records().outputs;
  assert.equal(output?.text, 'x'.repeat(8192));
  assert.equal(output?.truncated, true);
});

const display = (type: string, text: string, id?: string) => ({
  type,
  content: { data: { 'text/plain': text }, ...(id ? { transient: { display_id: id } } : {}) }
});

test('an updated display is recorded as it was updated last', () => {
  const collector = new OutputCollector();
  collector.add(display('display_data', "'0 %'", 'p'));
  collector.add(display('display_data', "'other'", 'q'));
  collector.add(display('update_display_data', "'33 %'", 'p'));
  collector.add(display('update_display_data', "'100 %'", 'p'));
  // One that another cell shows is not in the output of this one.
  collector.add(display('update_display_data', "'elsewhere'", 'r'));
  assert.deepEqual(
    collector.records().outputs.map(output => output.text),
    ["'100 %'", "'other'"]
  );
});

test('a display that is shown again under its id changes where it was shown before', () => {
  const collector = new OutputCollector();
  collector.add(display('display_data', "'first'", 'p'));
  collector.add(display('display_data', "'second'", 'p'));
  collector.add(display('execute_result', "'result'", 'p'));
  collector.add(display('update_display_data', "'third'", 'p'));
  assert.deepEqual(
    collector.records().outputs.map(output => output.text),
    ["'third'", "'third'", "'result'"]
  );
});

test('a display that was cleared is not brought back by an update', () => {
  const collector = new OutputCollector();
  collector.add(display('display_data', "'gone'", 'p'));
  collector.add({ type: 'clear_output', content: { wait: true } });
  collector.add(display('update_display_data', "'still there'", 'p'));
  assert.equal(collector.records().outputs[0]?.text, "'still there'");
  collector.add(display('display_data', "'new'", 'q'));
  collector.add(display('update_display_data', "'back'", 'p'));
  assert.deepEqual(
    collector.records().outputs.map(output => output.text),
    ["'new'"]
  );
});

test('an error that was cleared is not shown, and one that came after the clearing is', () => {
  const collector = new OutputCollector();
  const error = (ename: string) => ({ type: 'error', content: { ename, evalue: 'v', traceback: [] } });
  collector.add(error('NameError'));
  assert.equal(collector.error?.name, 'NameError');
  collector.add({ type: 'clear_output', content: { wait: true } });
  assert.equal(collector.error?.name, 'NameError');
  collector.add(stream('stdout', 'x'));
  assert.deepEqual([collector.error], [null]);
  collector.add({ type: 'clear_output', content: { wait: true } });
  collector.add(error('ValueError'));
  assert.equal(collector.error?.name, 'ValueError');
  assert.deepEqual(collector.records().outputs, []);
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
          type: fc.constantFrom('stream', 'execute_result', 'display_data', 'update_display_data', 'clear_output', 'error', 'other'),
          content: fc.dictionary(fc.constantFrom('name', 'text', 'data', 'wait', 'transient', 'traceback'), fc.anything())
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
