import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeferredActs } from '../src/capture/deferred';
import { CELL_LIST_PERIOD_MS, CellListWatch, EditWatch, SelectionWatch } from '../src/capture/edits';
import { courseHintOf, hashOf, LocalIds, locationOf, NotebookIdentity, proposalOf } from '../src/capture/identity';
import { KernelWatch } from '../src/capture/kernel';
import type { ICellView } from '../src/capture/outline';
import { headingOf, labelOf, outlineOf, referenceOf } from '../src/capture/outline';
import type { IEncodedEvent } from '../src/events/session';
import { NotebookSession } from '../src/events/session';
import type { Cell, Event } from '../src/events/types';
import { FaultGuard } from '../src/runtime/guard';
import { StillClock } from './clock';

const cell = (id: string, type: ICellView['type'] = 'code', source = '', metadata = {}): ICellView => ({
  id,
  type,
  source,
  metadata
});
const list = (...cells: ICellView[]) => ({ length: cells.length, get: (index: number) => cells[index] as ICellView });
const nowOf = (clock: StillClock) => () => ({ page: 'p', monotonic: clock.monotonic(), wall: clock.now() });
const deferred = (clock: StillClock) => new DeferredActs(clock, nowOf(clock));
const idsOf = (cells: readonly ICellView[]) => cells.map(each => each.id);

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
  assert.equal(referenceOf(cells, 2, []).heading, 'Loops and while');
  assert.deepEqual(
    outlineOf(cells, []).map(found => found.heading),
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
    outlineOf(cells, []).map(found => found.ordinal),
    numbers
  );
  assert.deepEqual(
    numbers.map((_, index) => labelOf(cells, index)),
    outlineOf(cells, []).map(({ heading, ordinal }) => ({
      ...(heading !== undefined && { heading }),
      ...(ordinal !== undefined && { ordinal })
    }))
  );
});

test('the outline of a long notebook has its first 500 cells', () => {
  const cells = list(...Array.from({ length: 700 }, (_, n) => cell(`c${n}`)));
  assert.equal(outlineOf(cells, []).length, 500);
});

/** A browser's storage; each page reads it again. */
function browser() {
  const kept = new Map<string, string>();
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (k: string, v: string) => void kept.set(k, v) };
  return { kept, page: () => new LocalIds(storage, 'ids', 'renames') };
}

/** A server half that does not answer. */
const unavailable = { open: async () => Promise.resolve(null), remember: async () => Promise.resolve(false) };

test('without the server half new notebooks that are renamed are two, also after a reload', async () => {
  const { page } = browser();
  const named = async (name: string): Promise<string> => {
    const identity = new NotebookIdentity(unavailable, page());
    const { id } = await identity.open({}, 'Untitled.ipynb');
    assert.equal((await identity.open({}, name, 'Untitled.ipynb')).id, id);
    return id;
  };
  const first = await named('task1.ipynb');
  const second = await named('task2.ipynb');
  assert.notEqual(first, second);
  const reloaded = new NotebookIdentity(unavailable, page());
  assert.equal((await reloaded.open({}, 'task1.ipynb')).id, first);
  assert.equal((await reloaded.open({}, 'task2.ipynb')).id, second);
});

test('without the server half a copy of a named notebook has another id than the original', async () => {
  const { page } = browser();
  const metadata = { cell_monitor: { notebook_id: 'week-1' } };
  const identity = new NotebookIdentity(unavailable, page());
  assert.equal((await identity.open(metadata, 'week1.ipynb')).id, 'week-1');
  const copy = (await identity.open(metadata, 'week1-Copy1.ipynb')).id;
  assert.match(copy, /^week-1~[0-9a-f]{12}$/);
  assert.equal((await identity.open(metadata, 'week1-Copy1.ipynb')).id, copy);
  assert.equal((await identity.open(metadata, 'week1.ipynb')).id, 'week-1');
});

test('what the server half answers is the id, and the id that an earlier version stored is offered to it', async () => {
  const { kept, page } = browser();
  kept.set('renames', JSON.stringify([['mine.ipynb', 'path-old']]));
  const asked: unknown[] = [];
  const remote = {
    ...unavailable,
    open: async (...request: unknown[]) => {
      asked.push(request);
      return Promise.resolve({ id: 'answered', cellIds: ['a'], cells: [] });
    }
  };
  const identity = new NotebookIdentity(remote, page());
  assert.equal((await identity.open({}, 'mine.ipynb', 'before.ipynb')).id, 'answered');
  const path = `path-${hashOf('mine.ipynb')}`;
  assert.deepEqual(asked, [[{ path: 'mine.ipynb', id: path, named: false, shared: true }, 'before.ipynb', 'path-old']]);
  // While it does not answer once, the id is the one that it answered before.
  assert.equal((await new NotebookIdentity(unavailable, page()).open({}, 'mine.ipynb')).id, 'answered');
});

test('ids are kept for the page when the storage is broken, full or forbidden', () => {
  const proposal = proposalOf({}, 'Untitled.ipynb');
  const broken = new LocalIds({ getItem: () => '{"not": a list', setItem: () => assert.fail('full') }, 'ids', 'renames');
  for (const local of [broken, new LocalIds(null, 'ids', 'renames')]) {
    const id = local.claim(proposal, null);
    assert.equal(local.claim(proposal, null), id);
  }
});

test('every student with the same path proposes the same notebook id, and other paths have another', () => {
  assert.deepEqual(proposalOf({}, 'a/b.ipynb'), proposalOf({}, 'a/b.ipynb'));
  assert.equal(new Set(Array.from({ length: 20_000 }, (_, n) => hashOf(`notebook-${n}.ipynb`))).size, 20_000);
  assert.match(hashOf(''), /^[0-9a-f]{16}$/);
  // Nobody was given a notebook that has no name yet.
  assert.deepEqual(
    ['Untitled.ipynb', 'a/Untitled12.ipynb', 'Untitled-solution.ipynb'].map(path => proposalOf({}, path).shared),
    [false, false, true]
  );
});

test('two notebooks of one assignment are two, wherever a student keeps them', () => {
  const metadata = { cell_monitor: { assignment_id: 'hw-1' } };
  assert.equal(proposalOf(metadata, 'a/q1.ipynb').id, proposalOf(metadata, 'b/q1.ipynb').id);
  assert.notEqual(proposalOf(metadata, 'a/q1.ipynb').id, proposalOf(metadata, 'a/q2.ipynb').id);
  assert.equal(proposalOf({ cell_monitor: { notebook_id: 'n', assignment_id: 'hw-1' } }, 'a.ipynb').id, 'n');
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
  const watch = new EditWatch(deferred(clock), (id, pasted) => reports.push([id, pasted]));
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

test('an edit is emitted before what the student does next, with the time of its last key press', () => {
  const clock = new StillClock();
  const taken: IEncodedEvent[] = [];
  const acts = deferred(clock);
  const session = new NotebookSession(
    { notebook: { id: 'n', path: 'n.ipynb', title: 'n' }, course: null, identified: each => each },
    clock,
    { push: event => void taken.push(event), moment: nowOf(clock) },
    () => acts.flush()
  );
  let outline: Cell[] = [];
  const reference = (id: string): Cell => ({ id, source_id: id, index: 0, type: 'code' as const });
  const edits = new EditWatch(acts, (id, _, at) => session.emitAct('cell_edited', { length: 1 }, reference(id), at));
  const list = new CellListWatch(
    { length: 1, get: () => cell('a'), outline: () => outline, identified: each => each },
    acts,
    new FaultGuard(),
    (type, first, { count }, at) => session.emitAct(type, { count }, first, at)
  );
  session.begin();
  outline = [reference('a'), reference('b')];
  list.begin();
  edits.changed('a');
  clock.advance(300);
  edits.changed('a');
  outline = [reference('a'), reference('b'), reference('new')];
  list.changed(true);
  clock.advance(200);
  edits.changed('b');
  clock.advance(100);
  session.emit('cell_execution_started', { execution_id: 'e' }, reference('c'));
  clock.advance(5000);
  const events = taken.map(event => JSON.parse(event.json) as Event);
  assert.deepEqual(
    events.map(event => [event.seq, event.type, event.cell?.id, event.occurred_at.slice(20, 23)]),
    [
      [1, 'cell_edited', 'a', '300'],
      [2, 'cell_added', 'new', '300'],
      [3, 'cell_edited', 'b', '500'],
      [4, 'cell_execution_started', 'c', '600']
    ]
  );
  assert.deepEqual(
    taken.map(event => (event.made?.monotonic ?? 0) - StillClock.start),
    [300, 300, 500, 600]
  );
  assert.equal(clock.waiting, 0);
});

test('the cell selected last is reported when the student leaves the page, with the time of its selection', () => {
  const clock = new StillClock();
  const reports: [string, number][] = [];
  let there = true;
  const watch = new SelectionWatch(
    clock,
    nowOf(clock),
    () => there,
    (id, at) => reports.push([id, at.monotonic - StillClock.start]) > 0
  );
  watch.moved('a');
  clock.advance(400);
  watch.moved('b');
  clock.advance(100);
  there = false;
  watch.left();
  watch.left();
  clock.advance(5000);
  assert.deepEqual(reports, [['b', 400]]);
});

test('moving through cells selects only the last one', () => {
  const clock = new StillClock();
  const reports: string[] = [];
  const watch = new SelectionWatch(clock, nowOf(clock), () => true, id => reports.push(id) > 0);
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

test('a cell is selected again when the student comes back to it, and not while the student is elsewhere', () => {
  const clock = new StillClock();
  const reports: string[] = [];
  let there = true;
  const watch = new SelectionWatch(clock, nowOf(clock), () => there, id => reports.push(id) > 0);
  watch.moved('a');
  clock.advance(2000);
  watch.moved('a');
  clock.advance(2000);
  assert.deepEqual(reports, ['a']);
  watch.entered('a');
  clock.advance(2000);
  assert.deepEqual(reports, ['a', 'a']);
  there = false;
  watch.moved('b');
  clock.advance(2000);
  there = true;
  // It was never reported, so it is now.
  watch.moved('b');
  clock.advance(2000);
  assert.deepEqual(reports, ['a', 'a', 'b']);
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
  // A status that was on its way when the kernel died, and one of the next kernel.
  assert.deepEqual(go('restarting', 'idle', 'autorestarting', 'busy', 'restarting'), ['gone', 'auto']);
  assert.deepEqual(go('autorestarting'), ['gone', 'auto']);
  // The status of the next kernel was missed, and a cell killed it, too.
  watch.answered();
  assert.deepEqual(go('autorestarting'), ['gone', 'auto']);
  // The page no longer finds the kernel: it was shut down, or its server was killed.
  assert.deepEqual(go('dead'), ['gone']);
  watch.saidDead();
  assert.deepEqual(go('dead', 'dead'), ['gone', 'died', 'gone']);
});

/** A notebook whose cells change under the watch, and what was reported of it. */
function watchedNotebook(...ids: string[]) {
  const clock = new StillClock();
  const guard = new FaultGuard();
  const reports: [string, string, number, number][] = [];
  let cells = ids.map(id => cell(id));
  /** Source ids that cells turn out to have after the notebook was opened. */
  const sourceIds = new Map<string, string>();
  const source = {
    get length() {
      return cells.length;
    },
    get: (index: number) => cells[index] as ICellView,
    outline: () => outlineOf(list(...cells), idsOf(cells)).map(each => source.identified(each)),
    identified: (each: Cell): Cell => ({ ...each, source_id: sourceIds.get(each.id) ?? each.source_id })
  };
  const owners: boolean[] = [];
  const named: (readonly string[])[] = [];
  const watch = new CellListWatch(source, deferred(clock), guard, (type, first, { count, own, sourceIds: changed }) => {
    reports.push([type, first.id, first.index, count]);
    owners.push(own);
    named.push(changed);
  });
  watch.begin();
  const change = (own: boolean, ...now: string[]) => {
    cells = now.map(id => cell(id));
    watch.changed(own);
  };
  const set = (...now: string[]) => change(true, ...now);
  const later = () => clock.advance(CELL_LIST_PERIOD_MS);
  return { clock, guard, reports, owners, named, sourceIds, watch, change, set, later };
}

test('a cell that was added or removed is reported once, where it is or was', () => {
  const { reports, named, set, later } = watchedNotebook('a', 'b', 'c');
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
  assert.deepEqual(named, [[], ['b']]);
});

test('a cell that is put back after its removal was reported is named, and a new one beside it is not', () => {
  const { reports, named, set, later } = watchedNotebook('a', 'b', 'c', 'd');
  set('a', 'd');
  later();
  set('a', 'new', 'c', 'd');
  later();
  set('a', 'new', 'd');
  later();
  set('c', 'a', 'b', 'new', 'd');
  later();
  assert.deepEqual(
    reports.map(([type]) => type),
    ['cell_removed', 'cell_added', 'cell_removed', 'cell_added']
  );
  assert.deepEqual(named, [['b', 'c'], ['c'], ['c'], ['c', 'b']]);
});

test('a removed cell is named as its runs are, also if its id was found only after the notebook was opened', () => {
  const { named, sourceIds, set, later } = watchedNotebook('a', 'made-up');
  sourceIds.set('made-up', 'position-1');
  set('a');
  later();
  set('a', 'made-up');
  later();
  assert.deepEqual(named, [['position-1'], ['position-1']]);
});

test('cells that another person or a program adds are not the student\'s act, unless the student adds some too', () => {
  const { owners, change, later } = watchedNotebook('a');
  change(false, 'a', 'b');
  later();
  change(false, 'a', 'b', 'c');
  change(true, 'a', 'b', 'c', 'd');
  change(false, 'a', 'b', 'c', 'd', 'e');
  later();
  change(false, 'a', 'b');
  later();
  assert.deepEqual(owners, [false, true, false]);
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
