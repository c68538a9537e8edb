import type { IClock } from '../runtime/clock';

/** At most one `cell_edited` per cell in this time. */
export const EDIT_PERIOD_MS = 2000;

/** A cell counts as selected once the student stays on it this long. */
export const SELECT_DELAY_MS = 1000;

/**
 * Turns keystrokes into at most one report per cell every two seconds.
 * A keystroke costs one map look-up; the cell is read when its time is up.
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

  /** Forgets what waits, without a report. */
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

/** Reports a cell as selected when the student stays on it, and never twice in a row. */
export class SelectionWatch {
  constructor(
    private readonly _clock: IClock,
    private readonly _report: (cellId: string) => void
  ) {}

  moved(cellId: string): void {
    this._cancel?.();
    this._cancel = this._clock.after(SELECT_DELAY_MS, () => {
      this._cancel = null;
      if (cellId !== this._reported) {
        this._reported = cellId;
        this._report(cellId);
      }
    });
  }

  dispose(): void {
    this._cancel?.();
    this._cancel = null;
  }

  private _cancel: (() => void) | null = null;
  private _reported: string | null = null;
}
