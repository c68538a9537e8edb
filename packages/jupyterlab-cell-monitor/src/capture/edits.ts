import type { Cell } from '../events/types';
import type { IClock } from '../runtime/clock';
import type { FaultGuard } from '../runtime/guard';
import type { ICellList } from './outline';

/** At most one `cell_edited` per cell in this time. */
export const EDIT_PERIOD_MS = 2000;

/** At most one `cell_added` and one `cell_removed` per notebook in this time. */
export const CELL_LIST_PERIOD_MS = 1000;

/** A cell counts as selected after this time. */
export const SELECT_DELAY_MS = 1000;

/**
 * Turns keystrokes into at most one report per cell every two seconds.
 * A keystroke costs one map look-up; the cell is read when its timer fires.
 */
export class EditWatch {
  constructor(
    private readonly _clock: IClock,
    private readonly _report: (cellId: string, pastedLength: number) => void
  ) {}

  /** The source of this cell changed. */
  changed(cellId: string): void {
    if (!this._waiting.has(cellId)) {
      this._waiting.set(
        cellId,
        this._clock.after(EDIT_PERIOD_MS, () => this._due(cellId))
      );
    }
  }

  /** `length` characters were pasted into this cell. */
  pasted(cellId: string, length: number): void {
    this._pasted.set(cellId, (this._pasted.get(cellId) ?? 0) + length);
    this.changed(cellId);
  }

  /** Cancels pending reports. */
  dispose(): void {
    this._waiting.forEach(cancel => cancel());
    this._waiting.clear();
    this._pasted.clear();
  }

  private _due(cellId: string): void {
    this._waiting.delete(cellId);
    const pasted = this._pasted.get(cellId) ?? 0;
    this._pasted.delete(cellId);
    this._report(cellId, pasted);
  }

  private readonly _waiting = new Map<string, () => void>();
  private readonly _pasted = new Map<string, number>();
}

/** Reports a cell as selected once it was active for a while, and never twice in a row. */
export class SelectionWatch {
  /** @param _report - returns whether the student is still there, so that it was reported */
  constructor(
    private readonly _clock: IClock,
    private readonly _report: (cellId: string) => boolean
  ) {}

  /** The student selected this cell. */
  moved(cellId: string): void {
    this._cancel?.();
    this._cancel = this._clock.after(SELECT_DELAY_MS, () => {
      this._cancel = null;
      if (cellId !== this._reported && this._report(cellId)) {
        this._reported = cellId;
      }
    });
  }

  /** The student came back to this cell from elsewhere: it is reported even if it was the last one here. */
  entered(cellId: string): void {
    this._reported = null;
    this.moved(cellId);
  }

  dispose(): void {
    this._cancel?.();
    this._cancel = null;
  }

  private _cancel: (() => void) | null = null;
  private _reported: string | null = null;
}

/** What is read of a notebook's cells to find out which are new and which are gone. */
export interface IOutlinedCells extends ICellList {
  outline(): Cell[];
}

/**
 * Reports cells that were added or removed: those of one second together, by the first of them and their number, so
 * that a paste of 500 cells is one report. JupyterLab does not tell which cells were removed, so the list is compared
 * with what it was; cells that were moved, or removed and put back meanwhile, are in both and not reported.
 */
export class CellListWatch {
  constructor(
    private readonly _cells: IOutlinedCells,
    private readonly _clock: IClock,
    private readonly _guard: FaultGuard,
    private readonly _report: (type: 'cell_added' | 'cell_removed', first: Cell, count: number, own: boolean) => void
  ) {}

  /** Starts from the cells as they are now: those that a notebook is loaded with are not reported. */
  begin(): void {
    this.dispose();
    this._known = this._listed();
  }

  /**
   * The list of cells changed.
   *
   * @param own - whether the student did it; what is reported together is the student's if any of it is
   */
  changed(own: boolean): void {
    this._own ||= own;
    this._cancel ??= this._clock.after(
      CELL_LIST_PERIOD_MS,
      this._guard.wrap(() => this._compare())
    );
  }

  /** Stops without a report. */
  dispose(): void {
    this._cancel?.();
    this._cancel = null;
    this._own = false;
  }

  private _compare(): void {
    this._cancel = null;
    const own = this._own;
    this._own = false;
    const before = this._known;
    const now = (this._known = this._listed());
    const removed = [...before.values()].filter(cell => !now.has(cell.id));
    if (removed.length === before.size) {
      // No cell is left of those before: the file was loaded again. Before nbformat 4.5 each load makes other ids.
      return;
    }
    const added = [...now.values()].filter(cell => !before.has(cell.id));
    if (removed[0]) {
      this._report('cell_removed', removed[0], removed.length, own);
    }
    if (added[0]) {
      this._report('cell_added', added[0], added.length, own);
    }
  }

  /** All cells by their id, in the order of the notebook; beyond the outline's limit without what is costly to find. */
  private _listed(): Map<string, Cell> {
    const outline = this._cells.outline();
    const listed = new Map(outline.map(cell => [cell.id, cell]));
    for (let index = outline.length; index < this._cells.length; index++) {
      const { id, type } = this._cells.get(index);
      listed.set(id, { id, source_id: id, index, type });
    }
    return listed;
  }

  private _known: ReadonlyMap<string, Cell> = new Map();
  private _cancel: (() => void) | null = null;
  private _own = false;
}
