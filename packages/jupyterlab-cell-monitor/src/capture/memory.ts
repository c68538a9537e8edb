import type { IClock } from '../runtime/clock';
import type { SourceIds, StoredCell } from './sources';

/** What changes within this time is stored together. */
export const REMEMBER_PERIOD_MS = 5000;

/** Stores the source ids of a notebook's cells where they do not follow from its file alone. */
export class CellMemory {
  /** @param _store - returns whether they were stored; null removes what is stored */
  constructor(
    private readonly _ids: Pick<SourceIds, 'stored'>,
    private readonly _clock: Pick<IClock, 'after'>,
    private readonly _store: (cells: readonly StoredCell[] | null) => Promise<boolean>
  ) {}

  /** The notebook was loaded with what was stored. */
  loaded(stored: unknown): void {
    this._stored = JSON.stringify(stored ?? null);
    if (this._stored === 'null') {
      // At once: another page that opens a shared document a moment later finds cells that were added meanwhile.
      void this._remember();
    } else {
      this.changed();
    }
  }

  /** A cell was added, removed, moved or edited. */
  changed(): void {
    this._cancel ??= this._clock.after(REMEMBER_PERIOD_MS, () => {
      this._cancel = null;
      void this._remember();
    });
  }

  /** The notebook was saved: the next page loads it as it is now. */
  saved(): void {
    this.dispose();
    void this._remember();
  }

  dispose(): void {
    this._cancel?.();
    this._cancel = null;
  }

  private async _remember(): Promise<void> {
    const cells = this._ids.stored;
    const json = JSON.stringify(cells);
    if (json !== this._stored && (await this._store(cells))) {
      this._stored = json;
    }
  }

  private _stored = 'null';
  private _cancel: (() => void) | null = null;
}
