import type { Cell } from '../events/types';
import { LIMITS } from '../events/types';
import type { IClock, IMoment } from '../runtime/clock';
import type { FaultGuard } from '../runtime/guard';
import type { DeferredActs, IDeferredAct } from './deferred';
import type { ICellList } from './outline';

/** At most one `cell_edited` per cell in this time. */
export const EDIT_PERIOD_MS = 2000;

/** At most one `cell_added` and one `cell_removed` per notebook in this time. */
export const CELL_LIST_PERIOD_MS = 1000;

/** A cell counts as selected after this time. */
export const SELECT_DELAY_MS = 1000;

/**
 * Turns keystrokes into one report per cell every two seconds, and one before what the student does next.
 * A keystroke costs one map look-up; the cell is read when its timer fires.
 */
export class EditWatch {
  constructor(
    private readonly _acts: DeferredActs,
    private readonly _report: (cellId: string, pastedLength: number, at: IMoment) => void
  ) {}

  /** The source of this cell changed. */
  changed(cellId: string): void {
    const edit = this._waiting.get(cellId);
    if (edit) {
      edit.again();
    } else {
      this._waiting.set(
        cellId,
        this._acts.begin(EDIT_PERIOD_MS, at => this._due(cellId, at))
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
    this._waiting.forEach(edit => edit.cancel());
    this._waiting.clear();
    this._pasted.clear();
  }

  private _due(cellId: string, at: IMoment): void {
    this._waiting.delete(cellId);
    const pasted = this._pasted.get(cellId) ?? 0;
    this._pasted.delete(cellId);
    this._report(cellId, pasted, at);
  }

  private readonly _waiting = new Map<string, IDeferredAct>();
  private readonly _pasted = new Map<string, number>();
}

/**
 * Reports a cell as selected once it was active for a while, and never twice in a row. A report has the time at which the
 * student selected the cell, and may follow what the student does in it.
 */
export class SelectionWatch {
  /**
   * @param _now - the present, by the clocks that show how long an event waited
   * @param _isHere - whether the notebook is in front of the student
   * @param _report - returns whether it was reported
   */
  constructor(
    private readonly _clock: Pick<IClock, 'after'>,
    private readonly _now: () => IMoment,
    private readonly _isHere: () => boolean,
    private readonly _report: (cellId: string, at: IMoment) => boolean
  ) {}

  /** The student selected this cell. */
  moved(cellId: string): void {
    this.dispose();
    const at = this._now();
    const report = (): void => {
      this.dispose();
      if (cellId !== this._reported && this._report(cellId, at)) {
        this._reported = cellId;
      }
    };
    const cancel = this._clock.after(SELECT_DELAY_MS, () => (this._isHere() ? report() : this.dispose()));
    this._pending = { cancel, report };
  }

  /** The student came back to this cell from elsewhere: it is reported even if it was the last one here. */
  entered(cellId: string): void {
    this._reported = null;
    this.moved(cellId);
  }

  /** The student leaves the page, whose timers may stop: the cell selected last is where the student was. */
  left(): void {
    this._pending?.report();
  }

  dispose(): void {
    this._pending?.cancel();
    this._pending = null;
  }

  private _pending: { cancel: () => void; report: () => void } | null = null;
  private _reported: string | null = null;
}

/** What is read of a notebook's cells to find out which are new and which are gone. */
export interface IOutlinedCells extends ICellList {
  outline(): Cell[];
  /** A cell with the source id that it turned out to have after it was listed. */
  identified(cell: Cell): Cell;
}

/** How many cells were added or removed, and whether the student did it. */
export interface ICellListChange {
  readonly count: number;
  readonly own: boolean;
  /** Source ids: of removed cells, those that are not there under another id; of added ones, those that had been removed. */
  readonly sourceIds: string[];
}

/**
 * Reports cells that were added or removed: those of one second together, by the first of them and their number, so
 * that a paste of 500 cells is one report. JupyterLab does not tell which cells were removed, so the list is compared
 * with what it was; cells that were moved, or removed and put back meanwhile, are in both and not reported.
 */
export class CellListWatch {
  constructor(
    private readonly _cells: IOutlinedCells,
    private readonly _acts: DeferredActs,
    private readonly _guard: FaultGuard,
    private readonly _report: (type: 'cell_added' | 'cell_removed', first: Cell, data: ICellListChange, at: IMoment) => void
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
    this._change?.again();
    this._change ??= this._acts.begin(CELL_LIST_PERIOD_MS, at => this._guard.run(() => this._compare(at)));
  }

  /** Stops without a report. */
  dispose(): void {
    this._change?.cancel();
    this._change = null;
    this._own = false;
  }

  private _compare(at: IMoment): void {
    this._change = null;
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
      // JupyterLab before 4.5 makes another cell when the type of one is changed.
      const left = new Set([...now.values()].map(cell => cell.source_id));
      const gone = removed.map(cell => this._cells.identified(cell).source_id).filter(id => !left.has(id));
      gone.forEach(id => this._gone.add(id));
      const sourceIds = gone.slice(0, LIMITS.removedCells);
      this._report('cell_removed', removed[0], { count: removed.length, own, sourceIds }, at);
    }
    if (added[0]) {
      const restored = added.map(cell => cell.source_id).filter(id => this._gone.delete(id));
      const sourceIds = restored.slice(0, LIMITS.removedCells);
      this._report('cell_added', added[0], { count: added.length, own, sourceIds }, at);
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
  /** Source ids of cells that were reported as removed and did not come back. */
  private readonly _gone = new Set<string>();
  private _change: IDeferredAct | null = null;
  private _own = false;
}
