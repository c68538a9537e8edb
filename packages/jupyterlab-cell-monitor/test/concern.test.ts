import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concerning } from '../src/status/concern';
import type { IRefusal } from '../src/tokens';

const which: IRefusal = { reason: 'course_required', course: null, events: 3, everything: true };
const reasons = (refusals: IRefusal[], shown: { id: string; course: string | null } | null): string[] =>
  concerning(refusals, shown).map(refusal => refusal.reason);

test('a page on which no notebook is known yet says nothing of the refusals of other pages', () => {
  assert.deepEqual(reasons([which], null), []);
});

test('a refusal that depends on the course concerns the notebooks that name the same course, or none', () => {
  assert.deepEqual(reasons([which], { id: 'n', course: 'intro' }), []);
  assert.deepEqual(reasons([which], { id: 'n', course: null }), ['course_required']);
});

test('an invalid event concerns the notebook that it is of, not others of its course', () => {
  const invalid = (notebook: string | null): IRefusal => ({
    reason: 'invalid_event',
    course: null,
    events: 1,
    everything: true,
    notebook
  });
  assert.deepEqual(reasons([invalid('other')], { id: 'n', course: null }), []);
  assert.deepEqual(reasons([invalid(null)], { id: 'n', course: null }), []);
  assert.deepEqual(reasons([invalid('n')], { id: 'n', course: null }), ['invalid_event']);
  assert.deepEqual(reasons([{ ...invalid('other'), everything: false }], { id: 'n', course: null }), []);
});

test('events that were deleted unsent concern every page', () => {
  const full: IRefusal = { reason: 'spool_full', course: null, events: 9, everything: false };
  assert.deepEqual(reasons([full], null), ['spool_full']);
  assert.deepEqual(reasons([full], { id: 'n', course: 'intro' }), ['spool_full']);
});

test('an older server half names no notebook: its refusals concern the course', () => {
  const invalid: IRefusal = { reason: 'invalid_event', course: 'intro', events: 1, everything: true };
  assert.deepEqual(reasons([invalid], { id: 'n', course: 'intro' }), ['invalid_event']);
  assert.deepEqual(reasons([invalid], { id: 'n', course: 'other' }), []);
});
