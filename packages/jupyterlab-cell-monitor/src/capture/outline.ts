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

/** The last heading of a markdown cell without its marks, or null. */
export function headingOf(source: string): string | null {
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

/** The nearest heading at or above the cell at `index`. */
export function headingAbove(cells: ICellList, index: number): string | undefined {
  for (let i = Math.min(index, cells.length - 1); i >= 0; i--) {
    const cell = cells.get(i);
    if (cell.type === 'markdown') {
      const heading = headingOf(cell.source);
      if (heading) {
        return heading;
      }
    }
  }
  return undefined;
}

/**
 * The id that the same exercise has for every student: nbgrader's `grade_id`, else the cell's own id,
 * which a copy of the assignment keeps, else its position.
 *
 * @param hasStableIds - false for notebooks older than nbformat 4.5, where each load generates new cell ids
 */
export function sourceIdOf(cell: ICellView, index: number, hasStableIds: boolean): string {
  const nbgrader = cell.metadata['nbgrader'];
  if (nbgrader && typeof nbgrader === 'object') {
    const gradeId = (nbgrader as Record<string, unknown>)['grade_id'];
    if (typeof gradeId === 'string' && gradeId) {
      return capChars(storableText(gradeId), ID_CHARS);
    }
  }
  return hasStableIds && cell.id ? capChars(cell.id, ID_CHARS) : `position-${index}`;
}

/** The reference of the cell at `index`. */
export function referenceOf(cells: ICellList, index: number, hasStableIds: boolean): Cell {
  const cell = cells.get(index);
  const heading = headingAbove(cells, index);
  return {
    id: capChars(cell.id, ID_CHARS) || `position-${index}`,
    source_id: sourceIdOf(cell, index, hasStableIds),
    index,
    type: cell.type,
    ...(heading ? { heading } : {})
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

/** References of the first 500 cells, in one pass. */
export function outlineOf(cells: ICellList, hasStableIds: boolean): Cell[] {
  const outline: Cell[] = [];
  let heading: string | null = null;
  for (let index = 0; index < Math.min(cells.length, LIMITS.outlineCells); index++) {
    const cell = cells.get(index);
    if (cell.type === 'markdown') {
      heading = headingOf(cell.source) || heading;
    }
    outline.push({
      id: capChars(cell.id, ID_CHARS) || `position-${index}`,
      source_id: sourceIdOf(cell, index, hasStableIds),
      index,
      type: cell.type,
      ...(heading ? { heading } : {})
    });
  }
  return outline;
}
