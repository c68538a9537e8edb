import type { CellList } from '@jupyterlab/notebook';
import type { Cell } from '../events/types';
import type { ICellList, ICellView } from './outline';
import { indexOf, outlineOf, referenceOf } from './outline';
import { SourceIds } from './sources';

/** The parts of a notebook's model that cells are read from. */
export interface ICellSource {
  readonly cells: CellList;
  readonly nbformat: number;
  readonly nbformatMinor: number;
  /** Whether it is a shared document. */
  readonly collaborative?: boolean;
}

/** The cells of an open notebook, read on access and not copied. */
export class NotebookCells implements ICellList {
  /** @param source - the notebook's model, or null once it is closed */
  constructor(private readonly _source: () => ICellSource | null) {}

  get length(): number {
    return this._source()?.cells.length ?? 0;
  }

  get(index: number): ICellView {
    const model = (this._source() as ICellSource).cells.get(index);
    return {
      id: model.id,
      type: model.type === 'markdown' || model.type === 'raw' ? model.type : 'code',
      get source() {
        return model.sharedModel.getSource();
      },
      get metadata() {
        return model.metadata as Readonly<Record<string, unknown>>;
      }
    };
  }

  /** The cell with this id as events name it, or null when it is no cell of this notebook. */
  reference(cellId: string): Cell | null {
    const index = indexOf(this, cellId);
    return index < 0 ? null : this.at(this._usedAmong(cellId, index));
  }

  /** The cell at this index as events name it. */
  at(index: number): Cell {
    return this._noted(referenceOf(this, index, this.sourceIds.all));
  }

  /** The cells as events name them, up to the limit of an outline. */
  outline(): Cell[] {
    const cells = outlineOf(this, this.sourceIds.all);
    cells.forEach(cell => this._noted(cell));
    return cells;
  }

  /** A reference to a cell that was made before `load`, with the source id that the cell turned out to have. */
  identified(cell: Cell): Cell {
    return this._early.has(cell) ? { ...cell, source_id: this.sourceIds.of(cell.id) } : cell;
  }

  /** The student used this cell: of several cells with its id it is the one that is meant. */
  used(model: object): void {
    this._used = model;
  }

  /** The notebook was opened: it has the cells of its file. */
  opened(): void {
    this.sourceIds.opened();
  }

  /** Starts from what is known of the notebook that was opened. */
  load(fileIds: readonly (string | null)[] | null, stored: unknown): void {
    const source = this._source();
    // Before nbformat 4.5 each load of the file generates new ids.
    const storesIds = !source || source.nbformat > 4 || (source.nbformat === 4 && source.nbformatMinor >= 5);
    this.sourceIds.load({ stored, fileIds, storesIds, shared: source?.collaborative === true });
  }

  private _noted(cell: Cell): Cell {
    if (!this.sourceIds.loaded) {
      this._early.add(cell);
    }
    return cell;
  }

  /** A cell that is cut, put back by an undo and then pasted is in the notebook twice, with one id. */
  private _usedAmong(cellId: string, first: number): number {
    const cells = this._source()?.cells;
    for (let index = first; cells && index < cells.length; index++) {
      const model = cells.get(index);
      if (model === this._used && model.id === cellId) {
        return index;
      }
    }
    return first;
  }

  /** The ids by which all students' copies of a cell are one. */
  readonly sourceIds = new SourceIds(this);

  private _used: object | null = null;
  /** References that were made before it was known which cells these are. */
  private readonly _early = new WeakSet<Cell>();
}
