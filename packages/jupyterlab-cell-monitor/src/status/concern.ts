import type { IRefusal } from '../tokens';

/** The notebook that the page shows, as its events name it. */
export interface IShownNotebook {
  readonly id: string;
  readonly course: string | null;
}

/** Refusals that say that events were deleted unsent: they may be of any notebook. */
const LOSSES: readonly string[] = ['spool_full', 'queue_full'];

/**
 * The refusals that concern what the page shows: the server half reports those of all pages of the student.
 *
 * @param shown - null while no notebook is shown or it is not known yet which one it is
 */
export function concerning(refusals: readonly IRefusal[], shown: IShownNotebook | null): readonly IRefusal[] {
  return refusals.filter(refusal => {
    if (LOSSES.includes(refusal.reason)) {
      return true;
    }
    if (refusal.notebook !== undefined) {
      return shown !== null && refusal.notebook === shown.id;
    }
    // This page's own losses, and partial refusals of an older server half, name neither.
    return (refusal.course === null && !refusal.everything) || (shown !== null && refusal.course === shown.course);
  });
}
