import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CELL_LIST_PERIOD_MS, CellListWatch, EditWatch, SelectionWatch } from '../src/capture/edits';
import { courseHintOf, hashOf, locationOf, notebookIdOf, StoredRenames } from '../src/capture/identity';
import { KernelWatch } from '../src/capture/kernel';
import type { ICellView } from '../src/capture/outline';
import { headingOf, labelOf, outlineOf, referenceOf, sourceIdOf } from '../src/capture/outline';
import { FaultGuard } from '../src/runtime/guard';
import { StillClock } from './clock';

const cell = (id: string, type: ICellView['type'] = 'code', source = '', metadata = {}): ICellView => ({
  id,
  type,
  source,
  metadata
});
const list = (...cells: ICellView[]) => ({ length: cells.length, get: (index: number) => cells[index] as ICellView });
const noRenames = { idAt: () => null, moved: () => undefined };

test('a cell is under the nearest heading above it', () => {
  const cells = list(
    cell('a', 'markdown', 'intro'),
    cell('b'),
    cell('c', 'markdown', '# Week\n\n## Loops *and* `while` ##\ntext'),
    cell('d', 'markdown', '```\n# a comment in code\n```'),
    cell('e')
  );
  assert.equal(labelOf(cells, 1).heading, undefined);
  assert.equal(labelOf(cells, 4).heading, 'Loops and while');
  assert.equal(referenceOf(cells, 2, true).heading, 'Loops and while');
  assert.deepEqual(
    outlineOf(cells, true).map(found => found.heading),
    [undefined, undefined, 'Loops and while', 'Loops and while', 'Loops and while']
  );
  assert.equal(headingOf('#hashtag'), null);
});

test('code cells below one heading, or below headings of one text, are numbered', () => {
  const cells = list(
    cell('a'),
    cell('b', 'markdown', '# Exercise 1'),
    cell('c'),
    cell('d', 'markdown', 'a hint'),
    cell('e'),
    cell('f', 'markdown', '# Exercise 2'),
    cell('g'),
    cell('h', 'markdown', '# Exercise 1'),
    cell('i')
  );
  const numbers = [undefined, undefined, 1, undefined, 2, undefined, 1, undefined, 3];
  assert.deepEqual(
    outlineOf(cells, true).map(found => found.ordinal),
    numbers
  );
  assert.deepEqual(
    numbers.map((_, index) => labelOf(cells, index)),
    outlineOf(cells, true).map(({ heading, ordinal }) => ({
      ...(heading !== undefined && { heading }),
      ...(ordinal !== undefined && { ordinal })
    }))
  );
});

test('an exercise has the same source id for every student', () => {
  assert.equal(sourceIdOf(cell('x', 'code', '', { nbgrader: { grade_id: 'ex-1' } }), 3, true), 'ex-1');
  assert.equal(sourceIdOf(cell('abc'), 3, true), 'abc');
  // Before nbformat 4.5 each load generates new ids.
  assert.equal(sourceIdOf(cell('random'), 3, false), 'position-3');
});

test('the outline of a long notebook has its first 500 cells', () => {
  const cells = list(...Array.from({ length: 700 }, (_, n) => cell(`c${n}`)));
  assert.equal(outlineOf(cells, true).length, 500);
});

test('a notebook keeps its id when it is renamed, also after a reload', () => {
  const kept = new Map<string, string>();
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (k: string, v: string) => void kept.set(k, v) };
  const id = notebookIdOf({}, 'week1.ipynb', new StoredRenames(storage, 'k'));
  new StoredRenames(storage, 'k').moved('mine.ipynb', id);
  const reloaded = new StoredRenames(storage, 'k');
  assert.equal(notebookIdOf({}, 'mine.ipynb', reloaded), id);
  reloaded.moved('week1.ipynb', id);
  assert.equal(notebookIdOf({}, 'week1.ipynb', reloaded), id);
  // An id in the notebook's metadata takes precedence.
  assert.equal(notebookIdOf({ cell_monitor: { notebook_id: 'hw-1' } }, 'mine.ipynb', reloaded), 'hw-1');
});

test('renames are kept for the page when the storage is broken, full or forbidden', () => {
  const broken = new StoredRenames({ getItem: () => '{"not": a list', setItem: () => assert.fail('full') }, 'k');
  assert.equal(broken.idAt('x'), null);
  broken.moved('x', 'id');
  assert.equal(broken.idAt('x'), 'id');
  new StoredRenames(null, 'k').moved('x', 'id');
});

test('every student with the same path has the same notebook id, and other paths have another', () => {
  assert.equal(notebookIdOf({}, 'a/b.ipynb', noRenames), notebookIdOf({}, 'a/b.ipynb', noRenames));
  assert.equal(new Set(Array.from({ length: 20_000 }, (_, n) => hashOf(`notebook-${n}.ipynb`))).size, 20_000);
  assert.match(hashOf(''), /^[0-9a-f]{16}$/);
});

test('the course and the title come from the notebook', () => {
  assert.equal(courseHintOf({ cell_monitor: { course: ' c1 ' } }), 'c1');
  assert.equal(courseHintOf({ cell_monitor: { course: 7 } }), null);
  assert.equal(courseHintOf({ cell_monitor: { course: 'x'.repeat(64) } }), null);
  assert.deepEqual(locationOf('a/週1.ipynb'), { path: 'a/週1.ipynb', title: '週1' });
});

test('two seconds of typing are one report', () => {
  const clock = new StillClock();
  const reports: [string, number][] = [];
  const watch = new EditWatch(clock, (id, pasted) => reports.push([id, pasted]));
  for (let n = 0; n < 100; n++) {
    watch.changed('a');
    clock.advance(50);
  }
  watch.pasted('b', 10);
  watch.pasted('b', 5);
  clock.advance(3000);
  assert.deepEqual(reports, [
    ['a', 0],
    ['a', 0],
    ['a', 0],
    ['b', 15]
  ]);
  watch.changed('a');
  watch.dispose();
  assert.equal(clock.waiting, 0);
});

test('moving through cells selects only the last one', () => {
  const clock = new StillClock();
  const reports: string[] = [];
  const watch = new SelectionWatch(clock, id => reports.push(id));
  for (const id of ['a', 'b', 'c']) {
    watch.moved(id);
    clock.advance(200);
  }
  clock.advance(2000);
  watch.moved('d');
  watch.moved('c');
  clock.advance(2000);
  assert.deepEqual(reports, ['c']);
});

test('a restart is one event with its cause; a death is another', () => {
  const clock = new StillClock();
  const seen: string[] = [];
  const watch = new KernelWatch(
    {
      gone: () => seen.push('gone'),
      restarted: reason => seen.push(reason),
      died: () => seen.push('died')
    },
    clock
  );
  const go = (...statuses: string[]): string[] => {
    seen.length = 0;
    statuses.forEach(status => watch.status(status));
    clock.advance(1000);
    return [...seen];
  };
  assert.deepEqual(go('restarting', 'restarting', 'starting', 'idle'), ['gone', 'user']);
  assert.deepEqual(go('busy', 'restarting', 'autorestarting', 'starting', 'idle'), ['gone', 'auto']);
  assert.deepEqual(go('restarting', 'busy', 'idle'), ['gone', 'user']);
  assert.deepEqual(go('dead', 'dead'), ['gone', 'died', 'gone']);
});

/** A notebook whose cells change under the watch, and what was reported of it. */
function watchedNotebook(...ids: string[]) {
  const clock = new StillClock();
  const guard = new FaultGuard();
  const reports: [string, string, number, number][] = [];
  let cells = ids.map(id => cell(id));
  const source = {
    get length() {
      return cells.length;
    },
    get: (index: number) => cells[index] as ICellView,
    outline: () => outlineOf(list(...cells), true)
  };
  const watch = new CellListWatch(source, clock, guard, (type, first, count) =>
    reports.push([type, first.id, first.index, count])
  );
  watch.begin();
  const set = (...now: string[]) => {
    cells = now.map(id => cell(id));
    watch.changed();
  };
  const later = () => clock.advance(CELL_LIST_PERIOD_MS);
  return { clock, guard, reports, watch, set, later };
}

test('a cell that was added or removed is reported once, where it is or was', () => {
  const { reports, set, later } = watchedNotebook('a', 'b', 'c');
  later();
  assert.deepEqual(reports, []);
  set('a', 'b', 'new', 'c');
  later();
  set('a', 'new', 'c');
  later();
  later();
  assert.deepEqual(reports, [
    ['cell_added', 'new', 2, 1],
    ['cell_removed', 'b', 1, 1]
  ]);
});

test('a paste of 500 cells and an undo of it are one event each', () => {
  const { clock, reports, set, later } = watchedNotebook('a', 'b');
  const pasted = Array.from({ length: 500 }, (_, n) => `p${n}`);
  pasted.forEach((_, n) => set('a', ...pasted.slice(0, n + 1), 'b'));
  assert.equal(clock.waiting, 1);
  later();
  set('a', 'b');
  later();
  assert.deepEqual(reports, [
    ['cell_added', 'p0', 1, 500],
    ['cell_removed', 'p0', 1, 500]
  ]);
});

test('a cell beyond the outline is found, and adding one above it removes none', () => {
  const many = Array.from({ length: 600 }, (_, n) => `c${n}`);
  const { reports, set, later } = watchedNotebook(...many);
  set('top', ...many);
  later();
  set('top', ...many.slice(0, -1));
  later();
  assert.deepEqual(reports, [
    ['cell_added', 'top', 0, 1],
    ['cell_removed', 'c599', 600, 1]
  ]);
});

test('moving a cell, or removing and putting it back within the second, is no event', () => {
  const { reports, set, later } = watchedNotebook('a', 'b', 'c');
  set('b', 'a', 'c');
  later();
  set('b', 'c');
  set('b', 'a', 'c');
  later();
  assert.deepEqual(reports, []);
});

test('a file that is loaded again under other ids adds and removes nothing', () => {
  const { reports, set, later } = watchedNotebook('a', 'b');
  set('x', 'y');
  later();
  set('x', 'y', 'z');
  later();
  assert.deepEqual(reports, [['cell_added', 'z', 2, 1]]);
});

test('what changed while recording was paused is not reported', () => {
  const { reports, watch, set, later } = watchedNotebook('a', 'b');
  set('a', 'b', 'c');
  watch.dispose();
  later();
  set('a', 'b', 'c', 'd');
  watch.begin();
  later();
  assert.deepEqual(reports, []);
});

test('a notebook that is closed before the comparison makes no event and no fault', () => {
  const { guard, reports, set, later } = watchedNotebook('a', 'b');
  set();
  later();
  assert.deepEqual(reports, []);
  assert.equal(guard.count, 0);
});
