import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ISeenCell } from '../src/capture/matching';
import { identify } from '../src/capture/matching';
import type { ICellOfTest } from './notebook_of_test';
import { NotebookOfTest, texts } from './notebook_of_test';

test('what the student changes before it is known which cells these are changes the id of none', () => {
  for (const format of ['with ids', 'without ids'] as const) {
    const notebook = new NotebookOfTest(format, false, texts('a = 1', 'b = 2', 'c = 3'));
    notebook.load(() => {
      notebook.insert(0, 'new', null, 'new');
      notebook.remove(2);
      notebook.edit(1, 'a = 10');
      // Until then a cell is called by its own id.
      assert.deepEqual(
        notebook.sources.all,
        notebook.cells.map(cell => cell.id)
      );
    });
    assert.deepEqual(notebook.sources.all, ['new', 'position-0', 'position-2']);
    assert.deepEqual(
      [...notebook.cells.map(cell => cell.id), 'gone'].map(id => notebook.sources.of(id)),
      ['new', 'position-0', 'position-2', 'gone']
    );
  }
});

test('a shared document that is filled after it was opened has the ids of its file', () => {
  const notebook = new NotebookOfTest('with ids', true, texts('a = 1', 'b = 2'));
  const cells = notebook.cells;
  const { sources } = notebook;
  notebook.cells = [];
  sources.opened();
  sources.load({ stored: null, fileIds: ['file-0', null], storesIds: true, shared: true });
  assert.deepEqual(sources.all, []);
  assert.equal(sources.stored, null);
  notebook.cells = cells;
  sources.changed();
  assert.deepEqual(sources.all, ['file-0', 'position-1']);
});

test('a cell that is in a shared document and not yet in its file has the id that the page has that added it', () => {
  const notebook = new NotebookOfTest('with ids', true, texts('a = 1', 'b = 2'));
  notebook.insert(1, 'added', null, 'added');
  const { sources } = notebook;
  const load = (fileIds: readonly (string | null)[], shared: boolean): readonly string[] => {
    sources.opened();
    sources.load({ stored: null, fileIds, storesIds: true, shared });
    return sources.all;
  };
  assert.deepEqual(load(['file-0', 'file-1'], true), ['file-0', 'added', 'file-1']);
  // A program that reads the cells from another file makes ids up at each load, but keeps those that it knows.
  assert.deepEqual(load(['file-0', 'file-1'], false), ['file-0', 'position-1', 'file-1']);
  // Where the file has no id, or has one twice, those are made up.
  assert.deepEqual(load(['file-0', null], true), ['file-0', 'position-1', 'position-2']);
  assert.deepEqual(load(['file-0', 'file-0'], true), ['file-0', 'position-1', 'position-2']);
});

test('a cell of a file without ids keeps its id when a cell is inserted above it, and after a reload', () => {
  for (const format of ['with ids', 'without ids'] as const) {
    const notebook = new NotebookOfTest(format, false, texts('a = 1', 'raise ValueError("x")', 'b = 2'));
    // As every student sees it who was given the file.
    assert.deepEqual(notebook.sources.all, ['position-0', 'position-1', 'position-2']);
    notebook.insert(0, '');
    assert.deepEqual(notebook.sources.all.slice(1), ['position-0', 'position-1', 'position-2']);
    const before = notebook.ids;
    notebook.save();
    notebook.load();
    assert.deepEqual(notebook.ids, before);
    notebook.edit(2, 'raise TypeError("y")');
    notebook.save();
    notebook.load();
    assert.deepEqual(notebook.ids, before);
  }
});

test('a cell that has an id in the file has it for all students, and nothing needs to be stored', () => {
  const notebook = new NotebookOfTest('with ids', true, [{ text: 'a' }, { text: 'b', grade: 'ex-1' }]);
  assert.deepEqual(notebook.sources.all, ['file-0', 'ex-1']);
  notebook.insert(1, 'c');
  notebook.edit(0, 'changed');
  assert.deepEqual(notebook.sources.all, ['file-0', 'new-2', 'ex-1']);
  assert.equal(notebook.sources.stored, null);
});

test('a copy of an exercise is a cell of its own, wherever it is pasted and after a reload', () => {
  for (const format of ['with ids', 'without ids'] as const) {
    for (const at of [0, 1]) {
      const notebook = new NotebookOfTest(format, true, [{ text: 'raise ValueError("ex")', grade: 'ex-1' }]);
      const original = notebook.cells[0] as ICellOfTest;
      const copy = notebook.insert(at, original.text, 'ex-1');
      assert.equal(notebook.ids.get(original.self), 'ex-1');
      assert.notEqual(notebook.ids.get(copy.self), 'ex-1');
      notebook.edit(at, 'print(1)');
      const before = notebook.ids;
      notebook.save();
      notebook.load();
      assert.deepEqual(notebook.ids, before);
      // Without the original the copy stays what it is, also for what is pasted from it.
      notebook.remove(1 - at);
      const second = notebook.insert(1, 'print(1)', 'ex-1');
      notebook.save();
      notebook.load();
      assert.equal(notebook.ids.get(copy.self), before.get(copy.self));
      assert.notEqual(notebook.ids.get(second.self), before.get(copy.self));
    }
  }
});

test('exercises that begin with the same text are not exchanged', () => {
  const stub = 'raise NotImplementedError()';
  const notebook = new NotebookOfTest('without ids', false, [
    { text: stub, grade: 'ex-1' },
    { text: stub, grade: 'ex-2' },
    { text: stub, grade: 'ex-3' }
  ]);
  notebook.remove(0);
  notebook.edit(0, 'solved');
  notebook.save();
  notebook.load();
  assert.deepEqual(notebook.sources.all, ['ex-2', 'ex-3']);
  const copy = notebook.insert(2, stub, 'ex-3');
  assert.notEqual(notebook.ids.get(copy.self), 'ex-1');
});

test('a deleted cell that is put back, also after a save and a reload, is the same cell', () => {
  const notebook = new NotebookOfTest('with ids', true, texts('a', 'b', 'c'));
  const cell = notebook.remove(0) as ICellOfTest;
  assert.deepEqual(notebook.sources.all, ['file-1', 'file-2']);
  notebook.put(2, cell);
  assert.deepEqual(notebook.sources.all, ['file-1', 'file-2', 'file-0']);
  // An exercise that was copied, deleted and pasted has another id; nbgrader takes it for the same.
  const graded = new NotebookOfTest('with ids', true, [{ text: 'a', grade: 'ex-1' }, { text: 'b' }]);
  graded.remove(0);
  assert.deepEqual(graded.sources.all, ['file-1']);
  graded.insert(1, 'a', 'ex-1');
  assert.deepEqual(graded.sources.all, ['file-1', 'ex-1']);
  const plain = new NotebookOfTest('without ids', false, texts('a', 'b', 'c'));
  const removed = plain.remove(1) as ICellOfTest;
  plain.save();
  plain.load();
  plain.put(0, removed);
  plain.save();
  plain.load();
  assert.deepEqual(plain.sources.all, ['position-1', 'position-0', 'position-2']);
});

test('the parts of a split cell and merged cells have ids of their own', () => {
  const notebook = new NotebookOfTest('with ids', true, [{ text: 'one\ntwo', grade: 'ex-1' }, { text: 'b' }]);
  // JupyterLab leaves the last part in the cell and copies its metadata to the others.
  const head = notebook.insert(0, 'one', 'ex-1');
  notebook.edit(1, 'two');
  assert.deepEqual(notebook.sources.all, [head.id, 'ex-1', 'file-1']);
  notebook.remove(0);
  notebook.edit(0, 'one\ntwo');
  assert.deepEqual(notebook.sources.all, ['ex-1', 'file-1']);
});

test('a cell whose type is changed is the same one, also where JupyterLab gives it another id, and after an undo', () => {
  const notebook = new NotebookOfTest('without ids', true, texts('a', 'b', 'b'));
  const before = notebook.sources.all;
  notebook.replace(1, 1, 'b', 'retyped');
  assert.deepEqual(notebook.sources.all, before);
  const [, cell] = notebook.cells;
  notebook.replace(1, 1, 'b', 'retyped-again');
  assert.deepEqual(notebook.sources.all, before);
  notebook.remove(1);
  notebook.put(1, cell as ICellOfTest);
  assert.deepEqual(notebook.sources.all, before);
  // Another text is another cell.
  notebook.replace(1, 1, 'pasted', 'pasted');
  assert.deepEqual(notebook.sources.all, [before[0], 'pasted', before[2]]);
});

test('of a split cell the last part is the cell, also where JupyterLab gives each part another id, and an undo', () => {
  const notebook = new NotebookOfTest('without ids', true, texts('a', 'upper\n\nlower', 'c'));
  const [first, second, third] = notebook.sources.all;
  const [, whole] = notebook.cells;
  notebook.cells.splice(1, 1);
  notebook.insert(1, 'upper', null, 'upper');
  notebook.insert(2, 'lower', null, 'lower');
  assert.deepEqual(notebook.sources.all, [first, 'upper', second, third]);
  notebook.cells.splice(1, 1);
  notebook.cells.splice(1, 1);
  notebook.put(1, whole as ICellOfTest);
  assert.deepEqual(notebook.sources.all, [first, second, third]);
  // Parts of another text are other cells.
  notebook.cells.splice(1, 1);
  notebook.insert(1, 'upper', null, 'one');
  notebook.insert(2, 'LOWER', null, 'two');
  assert.deepEqual(notebook.sources.all, [first, 'one', 'two', third]);
});

test('merged cells are the oldest of them, and an undo gives each its own id back', () => {
  const notebook = new NotebookOfTest('with ids', true, texts('a', 'b', 'c'));
  const [, cell] = notebook.cells;
  // The cell is split and merged again.
  const upper = notebook.insert(1, 'upper');
  assert.deepEqual(notebook.sources.all, ['file-0', upper.id, 'file-1', 'file-2']);
  notebook.replace(1, 2, 'upper\n\nb', 'merged');
  assert.deepEqual(notebook.sources.all, ['file-0', 'file-1', 'file-2']);
  notebook.remove(1);
  notebook.put(1, upper);
  notebook.put(2, cell as ICellOfTest);
  assert.deepEqual(notebook.sources.all, ['file-0', upper.id, 'file-1', 'file-2']);
  // What only begins with their texts is another cell.
  notebook.replace(2, 2, 'b\n\nc and more', 'other');
  assert.deepEqual(notebook.sources.all, ['file-0', upper.id, 'other']);
});

test('a cell that is added after the only cell was deleted is another one, although it has its text', () => {
  const notebook = new NotebookOfTest('with ids', false, texts('a'));
  const [first] = notebook.sources.all;
  const cell = notebook.remove(0);
  assert.deepEqual(notebook.sources.all, []);
  const added = notebook.insert(0, 'a');
  assert.deepEqual(notebook.sources.all, [added.id]);
  notebook.put(0, cell as ICellOfTest);
  assert.deepEqual(notebook.sources.all, [first, added.id]);
});

test('two cells with one id are two cells', () => {
  const notebook = new NotebookOfTest('with ids', true, texts('a', 'b'));
  notebook.insert(1, 'a', null, 'file-0');
  assert.equal(new Set(notebook.sources.all).size, 3);
  assert.equal(notebook.sources.all[0], 'file-0');
  // The same, in a file that was written like that.
  const same = { cellId: 'x', hash: 'h', length: 1, text: () => 'h', blank: false, gradeId: 'g', inFile: true };
  assert.equal(new Set(identify([], [same, same, same], true)).size, 3);
});

test('what was stored is not trusted', () => {
  const notebook = new NotebookOfTest('with ids', true, texts('a', 'b'));
  for (const stored of [7, [7], [['', '', '', 1]], [['x', 'file-0', '', 1], ['x', 'file-1', '', 1]], { a: 1 }]) {
    notebook.stored = stored;
    notebook.load();
    assert.equal(new Set(notebook.sources.all).size, 2);
    assert.ok(notebook.sources.all.every(id => id.length > 0 && id.length <= 128));
  }
});

test('a notebook of 3,000 cells that was written again is matched in bounded time and memory', () => {
  const cells = (prefix: string): ISeenCell[] =>
    Array.from({ length: 3000 }, (_, n) => ({
      cellId: `${prefix}${n}`,
      hash: `${prefix}${n}`,
      length: 5,
      text: () => `${prefix}${n}`,
      blank: false,
      gradeId: null,
      inFile: false
    }));
  const known = cells('a').map(cell => ({ ...cell, sourceId: cell.cellId, present: true }));
  assert.equal(new Set(identify(known, cells('b'), true)).size, 3000);
});
