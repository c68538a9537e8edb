import { ID_CHARS } from '../events/limits';
import { capChars, storableText } from '../events/text';
import { hashOf } from './identity';

/** A cell that was identified before. */
export interface IKnownCell {
  /** What events name it. */
  readonly sourceId: string;
  /** Its id in the notebook's model when it was seen last. */
  readonly cellId: string;
  /** Of its type and text when it was seen last. */
  readonly hash: string;
  /** False once it was removed: its `sourceId` stays its own, so that it is known again when it is put back. */
  readonly present: boolean;
  /** Characters of its text; missing where it was not seen by this page. */
  readonly length?: number;
  /** Ids that it had in the model before, which an undo brings back. */
  readonly formerIds?: readonly string[];
  /** The number of the change of the notebook in which it was added; missing for those that were there before. */
  readonly added?: number;
}

/** A cell of the notebook as it is now. */
export interface ISeenCell {
  readonly cellId: string;
  readonly hash: string;
  /** Whether it has no text: such cells cannot be distinguished by it. */
  readonly blank: boolean;
  /** Reads its text. */
  readonly text: () => string;
  /** Characters of its text. */
  readonly length: number;
  /** nbgrader's `grade_id`, which JupyterLab copies with a cell, or null. */
  readonly gradeId: string | null;
  /** Whether `cellId` is in the file; otherwise it was made up when the file was loaded. */
  readonly inFile: boolean;
}

/** Beyond this product of lengths cells are matched in order only, not by the longest common subsequence. */
const MAX_ALIGNMENT = 1_000_000;

const POSITION = 'position-';

/**
 * Returns the source id of each seen cell, in their order: each cell that is among the known ones keeps its own, and no
 * two cells have the same.
 *
 * A seen cell is a known one if it has its id, or alone has its `grade_id`, or if it has the text of those that are missing
 * at its place. For JupyterLab, some versions always, makes a new cell of one whose type is changed, of several that are
 * merged, and of each part of one that is split: merged cells are the oldest of them, and the last part of a split cell is
 * the cell. After the file was loaded again, which may have changed ids and texts, a seen cell is also the known one that
 * has its text, first in the order of the notebook and then anywhere, or that is missing at its place between two cells that
 * were found. Every other cell is new. A new cell gets its `grade_id` if no other cell has or had it, else its id, else its
 * position.
 *
 * @param known - in the order of the notebook, those that were removed last; empty when the notebook is seen first
 * @param seen - the notebook's cells
 * @param loaded - whether the file was loaded since the known cells were seen
 */
export function identify(known: readonly IKnownCell[], seen: readonly ISeenCell[], loaded: boolean): string[] {
  const match = new Match(known, seen);
  match.byId();
  match.byGrade();
  match.byParts();
  if (loaded) {
    match.byOrder();
    match.byText();
    match.byPlace();
  }
  return match.named();
}

class Match {
  constructor(
    private readonly _known: readonly IKnownCell[],
    private readonly _seen: readonly ISeenCell[]
  ) {
    this._found = new Array<number>(_seen.length).fill(-1);
    this._taken = new Array<boolean>(_known.length).fill(false);
  }

  byId(): void {
    const known = indexed(this._known, cell => cell.cellId);
    this._known.forEach((cell, at) =>
      cell.formerIds?.forEach(id => known.set(id, [...(known.get(id) ?? []), at]))
    );
    // Of two cells with one id the one whose text did not change is the known one.
    for (const unchanged of [true, false]) {
      this._seen.forEach((cell, index) => {
        const candidates = this._found[index] === -1 ? known.get(cell.cellId) : undefined;
        const other = candidates?.find(
          at => !this._taken[at] && (!unchanged || (this._known[at] as IKnownCell).hash === cell.hash)
        );
        if (other !== undefined) {
          this._pair(index, other);
        }
      });
    }
  }

  /** Cells whose `grade_id` no other cell has that was not found: nbgrader takes them for the exercise, too. */
  byGrade(): void {
    const known = indexed(this._known, cell => cell.sourceId);
    const free = this._freeSeen(cell => cell.gradeId !== null);
    const holders = indexed(free, index => (this._seen[index] as ISeenCell).gradeId as string);
    for (const [gradeId, [first, ...others]] of holders) {
      const at = known.get(gradeId)?.[0];
      if (first !== undefined && others.length === 0 && at !== undefined && !this._taken[at]) {
        this._pair(free[first] as number, at);
      }
    }
  }

  /** Cells that have the texts of those that are missing at their place: one instead of several, or several instead of one. */
  byParts(): void {
    for (const { seen, missing } of this._gaps()) {
      const cells = seen.map(index => this._seen[index] as ISeenCell);
      const parts = missing.map(at => this._known[at] as IKnownCell);
      const [first] = cells;
      const [whole] = parts;
      if (first && cells.length === 1 && isMadeOf(first, parts)) {
        const oldest = missing.reduce((one, other) => (addedAt(this._known, other) < addedAt(this._known, one) ? other : one));
        this._pair(seen[0] as number, oldest);
      } else if (whole && parts.length === 1 && areMadeFrom(cells, whole)) {
        this._pair(seen[seen.length - 1] as number, missing[0] as number);
      }
    }
  }

  /** The longest sequence of cells with the same text and in the same order, of those not found yet. */
  byOrder(): void {
    const known = this._freeKnown(cell => cell.present);
    const seen = this._freeSeen(() => true);
    const same = (a: number, b: number): boolean =>
      sameText(this._known[known[a] as number] as IKnownCell, this._seen[seen[b] as number] as ISeenCell);
    for (const [a, b] of alignment(known.length, seen.length, same)) {
      this._pair(seen[b] as number, known[a] as number);
    }
  }

  /** Cells that were moved or put back, by their text. */
  byText(): void {
    const known = indexed(this._known, cell => cell.hash);
    for (const index of this._freeSeen(cell => !cell.blank)) {
      const cell = this._seen[index] as ISeenCell;
      const other = known
        .get(cell.hash)
        ?.find(at => !this._taken[at] && sameText(this._known[at] as IKnownCell, cell));
      if (other !== undefined) {
        this._pair(index, other);
      }
    }
  }

  /** Cells whose text changed: as many as are missing between two neighbours that were found. */
  byPlace(): void {
    for (const { seen, missing } of this._gaps()) {
      if (missing.length === seen.length) {
        seen.forEach((index, n) => this._pair(index, missing[n] as number));
      }
    }
  }

  named(): string[] {
    const first = this._known.length === 0;
    const reserved = new Set(this._known.map(cell => cell.sourceId));
    const names = this._found.map(at => (at === -1 ? null : (this._known[at] as IKnownCell).sourceId));
    return names.map((name, index) => {
      if (name !== null) {
        return name;
      }
      const chosen = unused(wishes(this._seen[index] as ISeenCell, index, first), reserved);
      reserved.add(chosen);
      return chosen;
    });
  }

  /** Runs of seen cells that were not found, each with the known cells that are missing between its neighbours then. */
  private *_gaps(): Generator<{ seen: readonly number[]; missing: readonly number[] }> {
    const present = this._freeKnown(cell => cell.present);
    for (const { after, before, seen } of present.length > 0 ? this._unfound() : []) {
      yield { seen, missing: present.filter(at => at > after && at < before && !this._taken[at]) };
    }
  }

  /** Runs of seen cells that were not found, each with the known cells that its neighbours are. */
  private _unfound(): { after: number; before: number; seen: number[] }[] {
    const gaps: { after: number; before: number; seen: number[] }[] = [];
    let after = -1;
    let run: number[] = [];
    this._found.forEach((at, index) => {
      if (at === -1) {
        run.push(index);
        return;
      }
      if (run.length > 0) {
        gaps.push({ after, before: at, seen: run });
        run = [];
      }
      after = at;
    });
    if (run.length > 0) {
      gaps.push({ after, before: this._known.length, seen: run });
    }
    return gaps;
  }

  private _freeKnown(test: (cell: IKnownCell) => boolean): number[] {
    return [...this._known.keys()].filter(at => !this._taken[at] && test(this._known[at] as IKnownCell));
  }

  private _freeSeen(test: (cell: ISeenCell) => boolean): number[] {
    return [...this._seen.keys()].filter(
      index => this._found[index] === -1 && test(this._seen[index] as ISeenCell)
    );
  }

  private _pair(index: number, at: number): void {
    this._found[index] = at;
    this._taken[at] = true;
  }

  /** For each seen cell the index of the known one that it is, or -1. */
  private readonly _found: number[];
  private readonly _taken: boolean[];
}

/**
 * Whether a cell may be the known one by its text. Exercises often begin with the same text: those with another
 * `grade_id` are others.
 */
function sameText(known: IKnownCell, seen: ISeenCell): boolean {
  const ungraded = known.sourceId === known.cellId || known.sourceId.startsWith(POSITION);
  return known.hash === seen.hash && (seen.gradeId === null || seen.gradeId === known.sourceId || ungraded);
}

function addedAt(known: readonly IKnownCell[], at: number): number {
  return known[at]?.added ?? 0;
}

/** Whether a cell's text is that of these cells, with one or two line breaks between them, as JupyterLab merges cells. */
function isMadeOf(cell: ISeenCell, parts: readonly IKnownCell[]): boolean {
  if (parts.length === 0 || parts.some(part => part.length === undefined)) {
    return false;
  }
  const source = cell.text();
  let at = 0;
  for (const [n, { length = 0, hash }] of parts.entries()) {
    if (n > 0) {
      const breaks = /\n\n?/y;
      breaks.lastIndex = at;
      at += breaks.exec(source)?.[0].length ?? Number.NaN;
    }
    const part = source.slice(at, at + length);
    if (!CELL_TYPES.some(type => hashOfText(type, part) === hash)) {
      return false;
    }
    at += length;
  }
  return at === source.length;
}

/** Whether the texts of these cells are the parts of the cell's text, without the line breaks at which JupyterLab splits it. */
function areMadeFrom(cells: readonly ISeenCell[], { length = 0, hash }: IKnownCell): boolean {
  const missing = length - cells.reduce((sum, cell) => sum + cell.length, 0);
  const breaks = missing / (cells.length - 1);
  if (!(breaks >= 0) || !Number.isInteger(breaks)) {
    return false;
  }
  const source = cells.map(cell => cell.text()).join('\n'.repeat(breaks));
  return CELL_TYPES.some(type => hashOfText(type, source) === hash);
}

const CELL_TYPES = ['code', 'markdown', 'raw'] as const;

/** Characters of a cell's text that tell it from others. */
const HASHED_CHARS = 20_000;

/** The hash of a cell's type and text, the same for all that have no text. */
export function hashOfText(type: (typeof CELL_TYPES)[number], source: string): string {
  const text = source.trim() ? source : '';
  return hashOf(`${type}\n${text.length}\n${text.slice(0, HASHED_CHARS)}`);
}

/** The ids that a new cell may have, the best first; the last is always possible with a number behind it. */
function wishes(cell: ISeenCell, index: number, first: boolean): string[] {
  const grade = cell.gradeId ? [capChars(storableText(cell.gradeId), ID_CHARS)] : [];
  const own = cell.cellId ? [capChars(cell.cellId, ID_CHARS)] : [];
  const position = `${POSITION}${index}`;
  // All who were given the file see the same positions in it, but not what was made up when it was loaded.
  return first && !cell.inFile ? [...grade, position] : [...grade, ...own, position];
}

function unused(wanted: readonly string[], reserved: ReadonlySet<string>): string {
  const free = wanted.find(id => id && !reserved.has(id));
  if (free !== undefined) {
    return free;
  }
  const base = capChars(wanted[wanted.length - 1] as string, ID_CHARS - 8);
  for (let n = 2; ; n++) {
    if (!reserved.has(`${base}~${n}`)) {
      return `${base}~${n}`;
    }
  }
}

function indexed<T>(items: readonly T[], key: (item: T) => string): Map<string, number[]> {
  const map = new Map<string, number[]>();
  items.forEach((item, index) => {
    const list = map.get(key(item));
    if (list) {
      list.push(index);
    } else {
      map.set(key(item), [index]);
    }
  });
  return map;
}

/** Pairs of a longest common subsequence of two sequences of these lengths. */
function alignment(a: number, b: number, same: (i: number, j: number) => boolean): [number, number][] {
  const pairs: [number, number][] = [];
  let start = 0;
  while (start < a && start < b && same(start, start)) {
    pairs.push([start, start]);
    start++;
  }
  const tail: [number, number][] = [];
  let end = 0;
  while (end < Math.min(a, b) - start && same(a - 1 - end, b - 1 - end)) {
    end++;
    tail.push([a - end, b - end]);
  }
  const rows = a - start - end;
  const columns = b - start - end;
  if (rows > 0 && columns > 0 && rows * columns <= MAX_ALIGNMENT) {
    const width = columns + 1;
    const lengths = new Uint16Array((rows + 1) * width);
    const at = (i: number, j: number): number => lengths[i * width + j] as number;
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        lengths[i * width + j] = same(start + i, start + j)
          ? at(i + 1, j + 1) + 1
          : Math.max(at(i + 1, j), at(i, j + 1));
      }
    }
    for (let i = 0, j = 0; i < rows && j < columns; ) {
      if (same(start + i, start + j)) {
        pairs.push([start + i++, start + j++]);
      } else if (at(i + 1, j) >= at(i, j + 1)) {
        i++;
      } else {
        j++;
      }
    }
  }
  return [...pairs, ...tail];
}
