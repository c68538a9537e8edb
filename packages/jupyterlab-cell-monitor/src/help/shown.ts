/** How many ids are kept. */
const KEPT = 20;

/** The requests whose end this browser has shown, so that each is shown once. */
export class ShownRequests {
  /** @param storage - null where the browser forbids it */
  constructor(
    private readonly _storage: Pick<Storage, 'getItem' | 'setItem'> | null,
    private readonly _key: string
  ) {}

  /** Whether the end of this request was shown, or may have been: without a storage that is not known. */
  has(requestId: string): boolean {
    const ids = this._read();
    return ids === null || ids.includes(requestId);
  }

  add(requestId: string): void {
    const ids = this._read() ?? [];
    try {
      this._storage?.setItem(this._key, JSON.stringify([requestId, ...ids.filter(id => id !== requestId)].slice(0, KEPT)));
    } catch {
      // A full storage: the end is shown once more after a reload.
    }
  }

  private _read(): string[] | null {
    try {
      const ids: unknown = JSON.parse(this._storage?.getItem(this._key) ?? '[]');
      return this._storage && Array.isArray(ids) ? ids.filter(id => typeof id === 'string').slice(0, KEPT) : null;
    } catch {
      return null;
    }
  }
}
