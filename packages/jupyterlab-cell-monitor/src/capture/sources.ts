import { ID_CHARS } from '../events/limits';
import { capChars } from '../events/text';
import type { IKnownCell, ISeenCell } from './matching';
import { hashOfText, identify } from './matching';
import type { ICellList, ICellView } from './outline';

/** Cells that were removed and whose ids stay their own. */
const KEPT_REMOVED = 200;

/** Cells of one notebook that are stored: what the server half takes. */
const MAX_STORED = 2000;

/** Ids that a cell had in the model before and that are remembered. */
const FORMER_IDS = 8;

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
  /** Whether the notebook is a shared document, which the server loaded and which may be ahead of its file. */
  readonly shared: boolean;
}

/** The source ids of an open notebook's cells: stable while cells are edited, moved, added, removed and loaded again. */
export class SourceIds {
  constructor(private readonly _cells: ICellList) {}

  /** Whether it is known which cells these are. */
  get loaded(): boolean {
    return this._loaded !== null;
  }

  /** The notebook was opened with the cells that it has now; the student may change them before `load`. */
  opened(): void {
    this._opened = this._seen();
  }

  /** Starts from what is known of the notebook that was opened. */
  load(loaded: ILoadedCells): void {
    this._loaded = loaded;
    this._known = knownCells(loaded.stored);
    this._update(true, this._opened.length > 0 ? this._opened : this._seen());
    this._stale = true;
  }

  /** Cells were added, removed, moved or replaced by others, which may have the same ids. */
  changed(): void {
    this._texts.clear();
    this._stale = true;
  }

  /** A cell's text changed. */
  edited(cellId: string): void {
    this._texts.delete(cellId);
    this._stale = true;
  }

  /** The source ids, one for each cell in the order of the notebook; the cells' own ids before `load`. */
  get all(): readonly string[] {
    if (!this._loaded) {
      return [...Array(this._cells.length).keys()].map(index => this._cells.get(index).id);
    }
    if (this._stale) {
      const known = new Set(this._known.filter(cell => cell.present).map(cell => cell.cellId));
      const seen = this._seen();
      // None of the cells before: the file was loaded again.
      this._update(known.size > 0 && !seen.some(cell => known.has(cell.cellId)), seen);
    }
    return this._ids;
  }

  /** The source id of the cell with this id, which was in the notebook while it was opened. */
  of(cellId: string): string {
    if (this._stale) {
      void this.all;
    }
    return this._known.find(cell => capChars(cell.cellId, ID_CHARS) === cellId)?.sourceId ?? cellId;
  }

  /** What has to be stored so that another page finds the same ids; null where they follow from the file alone. */
  get stored(): StoredCell[] | null {
    const ids = this.all;
    if (this._loaded?.storesIds && ids.length > 0) {
      const saved = this._seen().map(cell => ({ ...cell, inFile: true }));
      if (identify([], saved, true).every((id, index) => id === ids[index])) {
        return null;
      }
    }
    if (this._known.length === 0) {
      return null;
    }
    const present = this._known.filter(cell => cell.present).slice(0, MAX_STORED);
    const removed = this._known.filter(cell => !cell.present);
    return [...present, ...removed].map(cell => [cell.sourceId, cell.cellId, cell.hash, cell.present ? 1 : 0]);
  }

  private _update(loaded: boolean, cells: readonly ISeenCell[]): void {
    this._stale = false;
    this._filled ||= cells.length > 0;
    if (!this._filled) {
      // JupyterLab opens no notebook without cells: this one is still being filled, as a shared document may be.
      return;
    }
    const seen = this._known.length === 0 ? this._markedInFile(cells) : cells;
    this._ids = identify(this._known, seen, loaded);
    const taken = new Set(this._ids);
    const before = new Map(this._known.map(cell => [cell.sourceId, cell]));
    const added = before.size > 0 ? ++this._changes : 0;
    const removed = this._known
      .filter(cell => !taken.has(cell.sourceId))
      .map(cell => ({ ...cell, present: false }))
      .slice(-KEPT_REMOVED);
    this._known = [
      ...seen.map(({ cellId, hash, length }, index) => {
        const sourceId = this._ids[index] as string;
        const known = before.get(sourceId);
        const former = known && known.cellId !== cellId ? [known.cellId] : [];
        return {
          sourceId,
          cellId,
          hash,
          present: true,
          length,
          formerIds: [...former, ...(known?.formerIds ?? [])].filter(id => id !== cellId).slice(0, FORMER_IDS),
          added: known ? (known.added ?? 0) : added
        };
      }),
      ...removed
    ];
  }

  /** The cells of the first load, with what the file itself says of their ids. */
  private _markedInFile(cells: readonly ISeenCell[]): ISeenCell[] {
    const { fileIds, storesIds, shared } = this._loaded ?? { fileIds: null, storesIds: true, shared: false };
    const ids = new Set(fileIds);
    // A shared document may have cells that are not in the file yet; their ids stay as they are.
    const complete = shared && fileIds !== null && fileIds.length > 0 && !ids.has(null) && ids.size === fileIds.length;
    return cells.map(cell => ({ ...cell, inFile: fileIds && !complete ? ids.has(cell.cellId) : storesIds }));
  }

  private _seen(): ISeenCell[] {
    const ids = new Set<string>();
    return [...Array(this._cells.length).keys()].map(index => {
      const cell = this._cells.get(index);
      // Two cells may have the same id for a while; the second one's text is read each time.
      const { hash, length } = ids.has(cell.id) ? textOf(cell) : this._text(cell);
      ids.add(cell.id);
      return {
        cellId: cell.id,
        hash,
        length,
        blank: hash === BLANK[cell.type],
        text: () => cell.source,
        gradeId: gradeIdOf(cell),
        inFile: true
      };
    });
  }

  private _text(cell: ICellView): IText {
    let text = this._texts.get(cell.id);
    if (text === undefined) {
      text = textOf(cell);
      this._texts.set(cell.id, text);
    }
    return text;
  }

  private _known: readonly IKnownCell[] = [];
  private _ids: readonly string[] = [];
  private _opened: readonly ISeenCell[] = [];
  private _loaded: ILoadedCells | null = null;
  private _stale = true;
  private readonly _texts = new Map<string, IText>();
  private _changes = 0;
  private _filled = false;
}

/** What is kept of a cell's text. */
type IText = Pick<ISeenCell, 'hash' | 'length'>;

function textOf(cell: ICellView): IText {
  const { type, source } = cell;
  return { hash: hashOfText(type, source), length: source.length };
}

const BLANK = { code: hashOfText('code', ''), markdown: hashOfText('markdown', ''), raw: hashOfText('raw', '') };

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
