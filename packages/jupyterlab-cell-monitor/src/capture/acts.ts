import type { IClock } from '../runtime/clock';

/** Input that only a person makes; the browser marks what a program dispatches as not trusted. */
const INPUTS = ['keydown', 'pointerdown', 'paste', 'cut', 'drop', 'compositionend'] as const;

/** How long after an input its consequences are the student's act: a command and its dialogs take a moment. */
export const ACT_MS = 2000;

/**
 * Tells the student's own acts from those of programs: an act follows the student's input in this page.
 * A selection that an extension makes, a save that it asks for or a tab that JupyterLab restores follows none.
 */
export class OwnActs {
  /** @param target - the page's document or window */
  constructor(
    private readonly _clock: Pick<IClock, 'monotonic'>,
    target: Pick<EventTarget, 'addEventListener'>
  ) {
    for (const input of INPUTS) {
      // Before any handler of the page, and also where one of them stops the event.
      target.addEventListener(input, event => this._input(event), { capture: true, passive: true });
    }
  }

  /** Called after each input of the student. */
  onInput: () => void = () => undefined;

  /** Whether what happens now is an act of the student: whether there was input within this time. */
  recent(withinMs: number = ACT_MS): boolean {
    return this._clock.monotonic() - this._at <= withinMs;
  }

  private _input(event: Event): void {
    if (event.isTrusted) {
      this._at = this._clock.monotonic();
      this.onInput();
    }
  }

  private _at = Number.NEGATIVE_INFINITY;
}
