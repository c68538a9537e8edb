import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { IClock } from '../runtime/clock';

/** Maximum time between a save command and a save that is the student's own. */
const MANUAL_SAVE_MS = 1500;

/** Tells the saves of one notebook that the student asked for from automatic ones and those of programs. */
export class SaveWatch {
  constructor(private readonly _clock: Pick<IClock, 'monotonic'>) {}

  /** A save command of the student's was carried out. */
  commanded(): void {
    this._commandAt = this._clock.monotonic();
  }

  /** Returns whether the save that is now completed is the student's own; null while none is. */
  completed(state: DocumentRegistry.SaveState): boolean | null {
    if (state === 'started') {
      this._startedAt = this._clock.monotonic();
    }
    return state.startsWith('completed') ? Math.abs(this._startedAt - this._commandAt) < MANUAL_SAVE_MS : null;
  }

  private _startedAt = Number.NEGATIVE_INFINITY;
  private _commandAt = Number.POSITIVE_INFINITY;
}
