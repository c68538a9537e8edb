import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TranslationBundle } from '@jupyterlab/translation';
import { TRAITS } from '../src/events/types';
import { recordLine } from '../src/status/record';

const format = (text: string, ...values: unknown[]): string =>
  text.replace(/%(\d)/g, (_, position) => String(values[Number(position) - 1]));
const trans = {
  __: format,
  _n: (one: string, many: string, count: number) => format(count === 1 ? one : many, count)
} as unknown as TranslationBundle;
const cell = { id: 'c', source_id: 's', index: 4, type: 'code' };

const line = (type: string, fields: object = {}): string =>
  recordLine(JSON.stringify({ type, occurred_at: '2026-04-01T09:00:00.123Z', cell, ...fields }), trans).text.replace(
    /[\u2068\u2069]/gu,
    ''
  );

test('a run is one sentence with its cell and its end', () => {
  const executed = (data: object): string => line('cell_executed', { data });
  assert.equal(executed({ status: 'ok' }), 'You ran cell 5: no error');
  assert.equal(executed({ status: 'error', error: { name: 'TypeError' } }), 'You ran cell 5: TypeError');
  assert.equal(executed({ status: 'error' }), 'You ran cell 5: an error');
  assert.equal(executed({ status: 'aborted' }), 'You ran cell 5: it did not run to its end');
});

test('every type of event that is sent has a sentence of its own', () => {
  const golden = JSON.parse(
    readFileSync(join(__dirname, '../../../../../tests/contract/golden/events.json'), 'utf8')
  ) as unknown;
  const events = (Array.isArray(golden) ? golden : Object.values(golden as object)) as { type?: unknown }[];
  const types = Object.keys(TRAITS);
  assert.ok(types.length > 10);
  for (const type of types) {
    assert.doesNotMatch(line(type), /Another event/, type);
  }
  for (const event of events) {
    assert.ok(recordLine(JSON.stringify(event), trans).text);
  }
  assert.equal(line('of_a_newer_release'), 'Another event (of_a_newer_release)');
});

test('the time is that of the event, and the notebook is the name of its file', () => {
  const read = recordLine(
    JSON.stringify({ type: 'heartbeat', occurred_at: '2026-04-01T09:00:00.123Z', notebook: { path: 'a/b/week1.ipynb' } }),
    trans
  );
  assert.equal(read.at?.toISOString(), '2026-04-01T09:00:00.123Z');
  assert.equal(read.notebook, 'week1.ipynb');
});

test('hostile texts neither fail nor leave their line', () => {
  for (const json of ['{', 'null', '[]', '7', '{"cell":7,"data":[],"notebook":"x","occurred_at":{}}']) {
    assert.ok(recordLine(json, trans).text);
  }
  const name = `Type\u202EError\n${'x'.repeat(300)}`;
  const read = recordLine(JSON.stringify({ type: 'cell_executed', cell, data: { status: 'error', error: { name } } }), trans);
  assert.doesNotMatch(read.text, /[\n\u202E]/u);
  assert.ok(read.text.length < 120);
});
