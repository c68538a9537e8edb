/**
 * Keeps our mistakes away from the student: what is wrapped never throws.
 * The count travels nowhere but the status dialog; a fault is no reason to disturb a lesson.
 */
export class FaultGuard {
  /** How many exceptions of ours were swallowed. */
  get count(): number {
    return this._count;
  }

  /** The last swallowed exception's text, for the status dialog. */
  get last(): string | null {
    return this._last;
  }

  /** Calls `action`; a throw is counted and answered with undefined. */
  run<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.note(error);
      return undefined;
    }
  }

  /** A function that does what `action` does and never throws. */
  wrap<A extends unknown[]>(action: (...args: A) => void): (...args: A) => void {
    return (...args: A) => {
      this.run(() => action(...args));
    };
  }

  /** Lets `promise` end as it will; a rejection is counted. */
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
