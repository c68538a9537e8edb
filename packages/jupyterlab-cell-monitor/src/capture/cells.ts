import type { CellList } from '@jupyterlab/notebook';
import type { Cell } from '../events/types';
import type { ICellList, ICellView } from './outline';
import { indexOf, outlineOf, referenceOf } from './outline';

/** The parts of a notebook's model that cells are read from. */
export interface ICellSource {
  readonly cells: CellList;
  readonly nbformat: number;
  readonly nbformatMinor: number;
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
    return index < 0 ? null : referenceOf(this, index, this._hasStableIds());
  }

  /** The cells as events name them, up to the limit of an outline. */
  outline(): Cell[] {
    return outlineOf(this, this._hasStableIds());
  }

  /** Before nbformat 4.5 each load of the file generates new ids. */
  private _hasStableIds(): boolean {
    const source = this._source();
    return !source || source.nbformat > 4 || (source.nbformat === 4 && source.nbformatMinor >= 5);
  }
}
