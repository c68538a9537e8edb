import type { FaultGuard } from '../runtime/guard';
import type { IOpenedNotebook } from '../transport/notebooks';
import type { NotebookIdentity } from './identity';

/** A document that may turn out to be one notebook, and later another one. */
export interface IIdentifiedDocument {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly isDisposed: boolean;
  /** It is known which notebook it is. Called once, also after the document was closed. */
  identified(opened: IOpenedNotebook): void;
  /** It is the same notebook at another path; `own` as in `moved`. */
  renamed(own: boolean): void;
  /** It is another notebook from now on: it was saved under another name. */
  replaced(id: string): void;
}

/** Finds out which notebook a document is, when it is opened and whenever its path changes. */
export class Identification {
  constructor(
    private readonly _document: IIdentifiedDocument,
    private readonly _identity: NotebookIdentity,
    private readonly _guard: FaultGuard
  ) {}

  /** Where the document is, without the name of the server's own drive. */
  get path(): string {
    return this._path;
  }

  /** The document was opened. */
  opened(path: string): void {
    this._path = path;
    const { metadata } = this._document;
    this._next(async () => this._found(await this._identity.open(metadata, path)));
  }

  /**
   * The document is at another path.
   *
   * @param renamedFrom - its path before if it was renamed, which makes it no other notebook; else null
   * @param own - whether the student did it
   */
  moved(path: string, renamedFrom: string | null, own: boolean): void {
    this._path = path;
    this._next(async () => {
      if (path !== this._path || this._document.isDisposed) {
        return;
      }
      const { id } = await this._identity.open(this._document.metadata, path, renamedFrom);
      if (path !== this._path || this._document.isDisposed) {
        return;
      }
      if (id === this._id) {
        this._document.renamed(own);
      } else {
        this._isNow(id);
      }
    });
  }

  /** The page is left, perhaps before the server half answers: what this browser knows has to do. */
  settle(): void {
    if (this._path && this._id === null) {
      this._found(this._identity.openHere(this._document.metadata, this._path));
    }
  }

  private _found(opened: IOpenedNotebook): void {
    if (this._id === null) {
      this._id = opened.id;
      this._document.identified(opened);
    } else {
      this._isNow(opened.id);
    }
  }

  private _isNow(id: string): void {
    if (id !== this._id && !this._document.isDisposed) {
      this._id = id;
      this._document.replaced(id);
    }
  }

  /** One after another: the server half finds a renamed notebook by what it knows of the path before. */
  private _next(step: () => Promise<void>): void {
    this._last = this._last.then(step).catch(error => this._guard.note(error));
  }

  private _path = '';
  private _id: string | null = null;
  private _last: Promise<void> = Promise.resolve();
}
