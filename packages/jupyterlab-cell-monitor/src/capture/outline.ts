import { ID_CHARS } from '../events/limits';
import { capChars, storableText } from '../events/text';
import type { Cell } from '../events/types';
import { LIMITS } from '../events/types';

/** What capture reads of one cell. */
export interface ICellView {
  readonly id: string;
  readonly type: Cell['type'];
  readonly source: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What capture reads of a notebook's cells. */
export interface ICellList {
  readonly length: number;
  get(index: number): ICellView;
}

const ATX_HEADING = /^ {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$/;
const FENCE = /^ {0,3}(?:```|~~~)/;

/** Headings of the markdown cells read last: an event of a cell reads all cells above it. */
const headings = new Map<string, string | null>();
const HEADINGS_KEPT = 1000;

/** The last heading of a markdown cell without its marks, or null. */
export function headingOf(source: string): string | null {
  let heading = headings.get(source);
  if (heading === undefined) {
    heading = readHeading(source);
    if (headings.size >= HEADINGS_KEPT) {
      headings.clear();
    }
    headings.set(source, heading);
  }
  return heading;
}

function readHeading(source: string): string | null {
  let found: string | null = null;
  let fenced = false;
  // Bounded, because this runs at every execution and a cell may hold a pasted book.
  for (const line of source.slice(0, 20_000).split('\n')) {
    if (FENCE.test(line)) {
      fenced = !fenced;
      continue;
    }
    const match = fenced ? null : ATX_HEADING.exec(line);
    if (match && match[1]) {
      found = match[1];
    }
  }
  return found === null ? null : capChars(storableText(found.replace(/[*_`]/g, '').trim()), LIMITS.heading);
}

/** Counts the code cells of a notebook, from its first to its last cell, below each heading's text. */
export class HeadingCounter {
  /** The heading at or above the cell that was added last; null where there is none. */
  get heading(): string | null {
    return this._heading;
  }

  /** Adds the next cell. Returns its number among the code cells below a heading of the same text, from 1. */
  add(cell: ICellView): number | undefined {
    if (cell.type === 'markdown') {
      this._heading = headingOf(cell.source) || this._heading;
    }
    if (cell.type !== 'code' || this._heading === null) {
      return undefined;
    }
    const ordinal = (this._counts.get(this._heading) ?? 0) + 1;
    this._counts.set(this._heading, ordinal);
    return ordinal;
  }

  private _heading: string | null = null;
  private readonly _counts = new Map<string, number>();
}

/** What tells the cell at `index` apart from others: the heading above it, and its number below that. */
export function labelOf(cells: ICellList, index: number): Pick<Cell, 'heading' | 'ordinal'> {
  const counter = new HeadingCounter();
  let ordinal: number | undefined;
  for (let i = 0; i <= Math.min(index, cells.length - 1); i++) {
    ordinal = counter.add(cells.get(i));
  }
  return label(counter, ordinal);
}

function label({ heading }: HeadingCounter, ordinal: number | undefined): Pick<Cell, 'heading' | 'ordinal'> {
  return { ...(heading !== null && { heading }), ...(ordinal !== undefined && { ordinal }) };
}

/**
 * The reference of the cell at `index`.
 *
 * @param sourceIds - of all cells, in their order
 */
export function referenceOf(cells: ICellList, index: number, sourceIds: readonly string[]): Cell {
  return named(cells.get(index), index, sourceIds, labelOf(cells, index));
}

function named(
  cell: ICellView,
  index: number,
  sourceIds: readonly string[],
  labelled: Pick<Cell, 'heading' | 'ordinal'>
): Cell {
  const position = `position-${index}`;
  return {
    id: capChars(cell.id, ID_CHARS) || position,
    source_id: sourceIds[index] ?? position,
    index,
    type: cell.type,
    ...labelled
  };
}

/** The index of the cell with this id, or -1. */
export function indexOf(cells: ICellList, id: string): number {
  for (let i = 0; i < cells.length; i++) {
    if (cells.get(i).id === id) {
      return i;
    }
  }
  return -1;
}

/** References of the first 500 cells, in one pass; `sourceIds` as in `referenceOf`. */
export function outlineOf(cells: ICellList, sourceIds: readonly string[]): Cell[] {
  const outline: Cell[] = [];
  const counter = new HeadingCounter();
  for (let index = 0; index < Math.min(cells.length, LIMITS.outlineCells); index++) {
    const cell = cells.get(index);
    const ordinal = counter.add(cell);
    outline.push(named(cell, index, sourceIds, label(counter, ordinal)));
  }
  return outline;
}
