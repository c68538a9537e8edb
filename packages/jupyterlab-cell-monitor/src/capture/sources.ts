import { hashOf } from './identity';
import type { IKnownCell, ISeenCell } from './matching';
import { identify } from './matching';
import type { ICellList, ICellView } from './outline';

/** Cells that were removed and whose ids stay their own. */
const KEPT_REMOVED = 200;

/** Cells of one notebook that are stored: what the server half takes. */
const MAX_STORED = 2000;

/** Characters of a cell's text that tell it from others. */
const HASHED_CHARS = 20_000;

/** A cell as it is stored: source id, cell id, hash, and 1 if it is in the notebook. */
export type StoredCell = readonly [string, string, string, 0 | 1];

/** What is known of a notebook's cells when it is loaded. */
export interface ILoadedCells {
  /** What `stored` returned before, of any browser; null where there is nothing. Untrusted. */
  readonly stored: unknown;
  /** The ids that the file itself has, by position; null where that is not known. */
  readonly fileIds: readonly (string | null)[] | null;
  /** Whether the notebook's format stores ids (nbformat 4.5 and later). */
  readonly storesIds: boolean;
}

/** The source ids of an open notebook's cells: stable while cells are edited, moved, added, removed and loaded again. */
export class SourceIds {
  constructor(private readonly _cells: ICellList) {}

  /** Starts from what is known of the notebook, which was loaded. */
  load(loaded: ILoadedCells): void {
    this._storesIds = loaded.storesIds;
    this._known = knownCells(loaded.stored);
    const current = [...Array(this._cells.length).keys()].map(index => this._cells.get(index).id);
    this._inFile = new Set(
      current.filter((id, index) => (loaded.fileIds ? loaded.fileIds[index] === id : loaded.storesIds))
    );
    this._update(true);
  }

  /** Cells were added, removed or moved. */
  changed(): void {
    this._stale = true;
  }

  /** A cell's text changed. */
  edited(cellId: string): void {
    this._hashes.delete(cellId);
    this._stale = true;
  }

  /** The source ids, one for each cell in the order of the notebook. */
  get all(): readonly string[] {
    if (this._stale) {
      const known = new Set(this._known.filter(cell => cell.present).map(cell => cell.cellId));
      // None of the cells before: the file was loaded again.
      this._update(!this._seen().some(cell => known.has(cell.cellId)));
    }
    return this._ids;
  }

  /** What has to be stored so that another page finds the same ids; null where they follow from the file alone. */
  get stored(): StoredCell[] | null {
    const ids = this.all;
    if (this._storesIds) {
      const saved = this._seen().map(cell => ({ ...cell, inFile: true }));
      if (identify([], saved, true).every((id, index) => id === ids[index])) {
        return null;
      }
    }
    const present = this._known.filter(cell => cell.present).slice(0, MAX_STORED);
    const removed = this._known.filter(cell => !cell.present);
    return [...present, ...removed].map(cell => [cell.sourceId, cell.cellId, cell.hash, cell.present ? 1 : 0]);
  }

  private _update(loaded: boolean): void {
    const seen = this._seen();
    this._ids = identify(this._known, seen, loaded);
    const taken = new Set(this._ids);
    const removed = this._known
      .filter(cell => !taken.has(cell.sourceId))
      .map(cell => ({ ...cell, present: false }))
      .slice(-KEPT_REMOVED);
    this._known = [
      ...seen.map(({ cellId, hash }, index) => ({ sourceId: this._ids[index] as string, cellId, hash, present: true })),
      ...removed
    ];
    this._stale = false;
  }

  private _seen(): ISeenCell[] {
    const ids = new Set<string>();
    return [...Array(this._cells.length).keys()].map(index => {
      const cell = this._cells.get(index);
      // Two cells may have the same id for a while; the second one's text is read each time.
      const hash = ids.has(cell.id) ? hashOfCell(cell) : this._hash(cell);
      ids.add(cell.id);
      return {
        cellId: cell.id,
        hash,
        blank: hash === BLANK[cell.type],
        gradeId: gradeIdOf(cell),
        inFile: this._inFile.has(cell.id)
      };
    });
  }

  private _hash(cell: ICellView): string {
    let hash = this._hashes.get(cell.id);
    if (hash === undefined) {
      hash = hashOfCell(cell);
      this._hashes.set(cell.id, hash);
    }
    return hash;
  }

  private _known: readonly IKnownCell[] = [];
  private _ids: readonly string[] = [];
  private _inFile: ReadonlySet<string> = new Set();
  private _storesIds = true;
  private _stale = true;
  private readonly _hashes = new Map<string, string>();
}

function textHash(type: string, source: string): string {
  return hashOf(`${type}\n${source.length}\n${source.slice(0, HASHED_CHARS)}`);
}

function hashOfCell(cell: ICellView): string {
  const source = cell.source;
  return textHash(cell.type, source.trim() ? source : '');
}

const BLANK = { code: textHash('code', ''), markdown: textHash('markdown', ''), raw: textHash('raw', '') };

/** nbgrader's `grade_id`, which is the same for all students and which JupyterLab copies with a cell. */
function gradeIdOf(cell: ICellView): string | null {
  const nbgrader = cell.metadata['nbgrader'];
  const gradeId = nbgrader && typeof nbgrader === 'object' ? (nbgrader as Record<string, unknown>)['grade_id'] : null;
  return typeof gradeId === 'string' && gradeId ? gradeId : null;
}

/** Reads what was stored; what is not as it should be is left out, and so is a second cell of one source id. */
function knownCells(stored: unknown): IKnownCell[] {
  const known = new Map<string, IKnownCell>();
  for (const cell of Array.isArray(stored) ? (stored as unknown[]) : []) {
    if (Array.isArray(cell) && cell.length === 4 && cell.slice(0, 3).every(part => typeof part === 'string')) {
      const [sourceId, cellId, hash, present] = cell as [string, string, string, unknown];
      if (sourceId && !known.has(sourceId)) {
        known.set(sourceId, { sourceId, cellId, hash, present: present === 1 });
      }
    }
  }
  return [...known.values()];
}
