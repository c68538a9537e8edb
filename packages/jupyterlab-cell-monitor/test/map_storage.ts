/** A page's storage, which can refuse everything, as in a private window. */
export class MapStorage {
  refuses = false;

  getItem(key: string): string | null {
    this._check();
    return this._values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this._check();
    this._values.set(key, value);
  }

  removeItem(key: string): void {
    this._check();
    this._values.delete(key);
  }

  private _check(): void {
    if (this.refuses) {
      throw new Error('forbidden');
    }
  }

  private readonly _values = new Map<string, string>();
}
