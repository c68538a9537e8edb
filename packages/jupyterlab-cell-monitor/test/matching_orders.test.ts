import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ICellOfTest } from './notebook_of_test';
import { NotebookOfTest, texts } from './notebook_of_test';

type Step =
  | { step: 'insert' | 'edit'; at: number; text: string }
  | { step: 'remove' | 'copy' | 'undo' | 'save' | 'reload'; at: number }
  | { step: 'move'; at: number; to: number };

const at = fc.nat({ max: 8 });
// Few texts, so that cells of the same text are frequent; the property compares only what can be distinguished.
const text = fc.constantFrom('', 'x = 1', 'y = 2', 'raise ValueError()');
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ step: fc.constantFrom('insert' as const, 'edit' as const), at, text }),
  fc.record({ step: fc.constantFrom('remove' as const, 'copy' as const, 'undo' as const), at }),
  fc.record({ step: fc.constantFrom('save' as const, 'reload' as const), at }),
  fc.record({ step: fc.constant('move' as const), at, to: at })
);

function take(notebook: NotebookOfTest, removed: { cell: ICellOfTest; at: number }[], one: Step): void {
  const index = notebook.cells.length > 0 ? one.at % notebook.cells.length : 0;
  switch (one.step) {
    case 'insert':
      notebook.insert(one.at, one.text);
      break;
    case 'edit':
      notebook.edit(index, one.text);
      break;
    case 'remove': {
      const cell = notebook.remove(index);
      if (cell) {
        removed.push({ cell, at: index });
      }
      break;
    }
    case 'undo': {
      const last = removed.pop();
      if (last) {
        notebook.put(last.at, last.cell);
      }
      break;
    }
    case 'copy': {
      const cell = notebook.cells[index];
      if (cell) {
        notebook.insert(index + 1, cell.text, cell.grade);
      }
      break;
    }
    case 'move': {
      const cell = notebook.remove(index);
      if (cell) {
        notebook.put(one.to, cell);
      }
      break;
    }
    case 'save':
      notebook.save();
      break;
    case 'reload':
      notebook.save();
      notebook.load();
      // What was removed cannot be put back by an undo in the new page.
      removed.length = 0;
      break;
  }
}

const notebooks = fc
  .record({
    format: fc.constantFrom('with ids' as const, 'without ids' as const),
    idsInFile: fc.boolean(),
    cells: fc.array(fc.record({ text, grade: fc.option(fc.constantFrom('ex-1', 'ex-2'), { nil: undefined }) }), { maxLength: 6 })
  })
  .map(({ format, idsInFile, cells }) => ({
    format,
    idsInFile,
    cells: cells.map(({ text, grade }) => (grade ? { text, grade } : { text }))
  }));

test('whatever is done to a notebook, no two cells have one source id', () => {
  fc.assert(
    fc.property(notebooks, fc.array(step, { maxLength: 30 }), ({ format, idsInFile, cells }, steps) => {
      const notebook = new NotebookOfTest(format, idsInFile, cells);
      const removed: { cell: ICellOfTest; at: number }[] = [];
      for (const one of steps) {
        take(notebook, removed, one);
        const ids = notebook.sources.all;
        assert.equal(ids.length, notebook.cells.length);
        assert.equal(new Set(ids).size, ids.length);
        assert.ok(ids.every(id => id.length > 0));
      }
    }),
    { numRuns: 500 }
  );
});

test('while a notebook is open, and after a reload where the file has ids, every cell keeps its source id', () => {
  fc.assert(
    fc.property(notebooks, fc.array(step, { maxLength: 30 }), ({ format, idsInFile, cells }, steps) => {
      // Without grade ids: a pasted exercise takes the place of one that was deleted, and keeps it.
      const notebook = new NotebookOfTest(format, idsInFile, texts(...cells.map(cell => cell.text)));
      const removed: { cell: ICellOfTest; at: number }[] = [];
      const known = new Map<number, string>();
      for (const one of steps) {
        if (one.step === 'reload' && format === 'without ids') {
          continue;
        }
        take(notebook, removed, one);
        for (const [self, id] of notebook.ids) {
          assert.equal(known.get(self) ?? id, id);
          known.set(self, id);
        }
      }
    }),
    { numRuns: 500 }
  );
});

test('a reload of a file without ids changes no source id of a cell whose text no other has', () => {
  const distinct = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6 }).filter(value => value.trim() !== ''), {
    minLength: 1,
    maxLength: 8
  });
  const changes = fc.array(
    fc.record({ kind: fc.constantFrom('insert' as const, 'remove' as const, 'move' as const), at, to: at }),
    { maxLength: 12 }
  );
  fc.assert(
    fc.property(distinct, changes, (all, steps) => {
      const notebook = new NotebookOfTest('without ids', false, texts(...all));
      steps.forEach(({ kind, at, to }, n) => {
        const index = notebook.cells.length > 0 ? at % notebook.cells.length : 0;
        if (kind === 'insert') {
          notebook.insert(at, `inserted ${n}`);
        } else {
          const cell = notebook.remove(index);
          if (cell && kind === 'move') {
            notebook.put(to, cell);
          }
        }
        const before = notebook.ids;
        notebook.save();
        notebook.load();
        assert.deepEqual(notebook.ids, before);
      });
    }),
    { numRuns: 300 }
  );
});
