/**
 * Keeps exceptions of this extension from reaching JupyterLab: what is wrapped never throws.
 * They are counted, and not shown to the student, who cannot do anything about them.
 */
export class FaultGuard {
  /** The number of exceptions caught. */
  get count(): number {
    return this._count;
  }

  /** The text of the last exception, or null. */
  get last(): string | null {
    return this._last;
  }

  /** Calls `action` and returns its result; undefined if it throws, which is counted. */
  run<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.note(error);
      return undefined;
    }
  }

  /** Returns a function that calls `action` and never throws. */
  wrap<A extends unknown[]>(action: (...args: A) => void): (...args: A) => void {
    return (...args: A) => {
      this.run(() => action(...args));
    };
  }

  /** Counts a rejection of `promise`. */
  watch(promise: Promise<unknown>): void {
    promise.catch(error => this.note(error));
  }

  note(error: unknown): void {
    this._count++;
    this._last = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }

  private _count = 0;
  private _last: string | null = null;
}
