import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACT_MS, OwnActs } from '../src/capture/acts';
import { isAddressed, openedByStudent } from '../src/capture/front';
import { CellMemory, REMEMBER_PERIOD_MS } from '../src/capture/memory';
import { Renames } from '../src/capture/renames';
import type { StoredCell } from '../src/capture/sources';
import { StillClock } from './clock';

/** A page whose inputs a test makes; a browser sets `isTrusted` itself. */
function page() {
  const clock = new StillClock();
  const slots = new Map<string, (event: Event) => void>();
  const acts = new OwnActs(clock, {
    addEventListener: (type: string, slot: unknown) => void slots.set(type, slot as (event: Event) => void)
  });
  const input = (type: string, isTrusted: boolean): void => slots.get(type)?.({ isTrusted } as Event);
  return { clock, acts, input };
}

test('what follows a key or a click is the student\'s act, and what follows nothing is a program\'s', () => {
  const { clock, acts, input } = page();
  assert.equal(acts.recent(), false);
  input('keydown', true);
  assert.equal(acts.recent(), true);
  clock.advance(ACT_MS + 1);
  assert.equal(acts.recent(), false);
  assert.equal(acts.recent(ACT_MS + 1), true);
  let inputs = 0;
  acts.onInput = () => inputs++;
  // A program that dispatches events of its own is still a program.
  input('pointerdown', false);
  assert.equal(acts.recent(), false);
  input('pointerdown', true);
  assert.equal(acts.recent(), true);
  assert.equal(inputs, 1);
});

test('a notebook in front after an input, or at the page\'s address, was opened by the student; a restored one was not', () => {
  const recent = () => true;
  const never = () => false;
  assert.equal(openedByStudent(true, recent, false), true);
  assert.equal(openedByStudent(true, never, true), true);
  assert.equal(openedByStudent(true, never, false), false);
  assert.equal(openedByStudent(false, recent, true), false);
});

test('an address counts for its own notebook, and not when the page is loaded again', () => {
  assert.equal(isAddressed('a/b.ipynb', 'a/b.ipynb', 'navigate'), true);
  assert.equal(isAddressed('a/b.ipynb', '/a/b.ipynb', 'navigate'), true);
  assert.equal(isAddressed('b.ipynb', 'a/b.ipynb', 'navigate'), false);
  assert.equal(isAddressed('a/b.ipynb', 'a/b.ipynb', 'reload'), false);
  assert.equal(isAddressed('a/b.ipynb', 'a/b.ipynb', 'back_forward'), false);
  assert.equal(isAddressed('', '', 'navigate'), false);
});

test('a notebook whose folder is renamed was renamed; one that is saved under another name was not', () => {
  const clock = new StillClock();
  const renames = new Renames(clock, path => path.replace(/^RTC:/, ''));
  assert.equal(renames.from('b.ipynb'), null);
  renames.renamed('a.ipynb', 'b.ipynb');
  assert.equal(renames.from('b.ipynb'), 'a.ipynb');
  assert.equal(renames.from('bb.ipynb'), null);
  renames.renamed('RTC:week', 'RTC:old/week');
  assert.equal(renames.from('old/week/a.ipynb'), 'week/a.ipynb');
  assert.equal(renames.from('old/week2/a.ipynb'), null);
  clock.advance(5000);
  assert.equal(renames.from('old/week/a.ipynb'), null);
  renames.renamed(undefined, 'c.ipynb');
  assert.equal(renames.from('c.ipynb'), null);
});

test('what is known of cells is stored once for each change, at a save at once, and again where it failed', async () => {
  const clock = new StillClock();
  const stored: unknown[] = [];
  let works = true;
  const ids: { stored: StoredCell[] | null } = { stored: null };
  const memory = new CellMemory(ids, clock, async cells => {
    stored.push(cells);
    return Promise.resolve(works);
  });
  const settle = async (): Promise<void> => new Promise(resolve => setImmediate(resolve));
  memory.loaded(null);
  clock.advance(REMEMBER_PERIOD_MS);
  await settle();
  // A notebook whose ids are in its file costs no request.
  assert.deepEqual(stored, []);
  ids.stored = [['position-0', 'x', 'h', 1]];
  works = false;
  for (let n = 0; n < 10; n++) {
    memory.changed();
  }
  clock.advance(REMEMBER_PERIOD_MS);
  await settle();
  works = true;
  memory.saved();
  await settle();
  memory.saved();
  memory.changed();
  clock.advance(REMEMBER_PERIOD_MS);
  await settle();
  assert.equal(stored.length, 2);
  memory.changed();
  memory.dispose();
  assert.equal(clock.waiting, 0);
});
