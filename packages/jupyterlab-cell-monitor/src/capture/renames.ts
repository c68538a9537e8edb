import type { IClock } from '../runtime/clock';

/** JupyterLab tells the notebook of its new path right after it reports the rename. */
const RENAME_MS = 1000;

/**
 * What this page renamed just now. A notebook's path changes in the same way when it is renamed and when it is saved under
 * another name; only the first is reported as a rename of the file or of a folder above it.
 */
export class Renames {
  /** @param _localPath - see `ICaptureContext.localPath` */
  constructor(
    private readonly _clock: Pick<IClock, 'monotonic'>,
    private readonly _localPath: (path: string) => string
  ) {}

  /** A file or a folder was renamed; the paths may be missing. */
  renamed(from: string | undefined, to: string | undefined): void {
    if (from && to) {
      this._last = { from: this._localPath(from), to: this._localPath(to), at: this._clock.monotonic() };
    }
  }

  /** The path that the file at this path had before, or null if it was not renamed just now. */
  from(path: string): string | null {
    const last = this._last;
    if (!last || this._clock.monotonic() - last.at > RENAME_MS) {
      return null;
    }
    return path === last.to || path.startsWith(`${last.to}/`) ? last.from + path.slice(last.to.length) : null;
  }

  private _last: { from: string; to: string; at: number } | null = null;
}
