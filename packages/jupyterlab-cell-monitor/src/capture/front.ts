/** How long after an input a notebook that opens in front was opened by the student: a large one loads for a while. */
const OPENING_MS = 30_000;

/**
 * Whether the student opened a notebook, and not JupyterLab when it restored its tabs.
 *
 * @param inFront - whether it is in front of the student
 * @param recent - whether there was input of the student within a time in milliseconds
 * @param addressed - whether the page was loaded from the notebook's own address, as from a link
 */
export function openedByStudent(inFront: boolean, recent: (withinMs: number) => boolean, addressed: boolean): boolean {
  return inFront && (addressed || recent(OPENING_MS));
}

/**
 * Whether the page was loaded from the address of the file at `path`.
 *
 * @param addressedPath - the path in the page's address, empty if it has none
 * @param navigation - how the page was loaded, as the browser's `PerformanceNavigationTiming` names it: a page that is
 *   loaded again, or restored with the browser's windows, was not opened by the student
 */
export function isAddressed(path: string, addressedPath: string, navigation: string): boolean {
  return navigation === 'navigate' && addressedPath !== '' && addressedPath.replace(/^\/+/, '') === path.replace(/^\/+/, '');
}
