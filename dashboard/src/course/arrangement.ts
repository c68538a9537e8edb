/** How the list of students is searched, filtered and sorted. Pure. */

import { fold, matching } from './search'
import { compareUrgency, type StudentView } from './view'

export const filters = [
  'all',
  'help',
  'stuck',
  'kernelDied',
  'longRun',
  'running',
  'error',
  'active',
  'idle',
  'left',
  'notStarted',
] as const
export type Filter = (typeof filters)[number]

export const sorts = ['name', 'attention', 'activity', 'errors'] as const
export type Sort = (typeof sorts)[number]

/** The figures at the top use the same conditions, so that a figure and its list agree. */
export function matchesFilter(view: StudentView, filter: Filter): boolean {
  switch (filter) {
    case 'all':
      return true
    case 'help':
      return view.words.needsHelp
    case 'idle':
      return view.words.quiet
    case 'error':
      return view.student.status === 'error'
    default:
      return view.words[filter]
  }
}

export function countByFilter(views: readonly StudentView[]): Record<Filter, number> {
  const counts = Object.fromEntries(filters.map((filter) => [filter, 0])) as Record<Filter, number>
  for (const view of views) for (const filter of filters) if (matchesFilter(view, filter)) counts[filter] += 1
  return counts
}

/** What of a student is searched. */
function searchedOf({ label, student }: StudentView): string {
  return fold(
    [
      label.text,
      student.username,
      student.notebook?.title,
      student.notebook?.path,
      student.cell?.heading,
      student.last_execution?.cell?.heading,
      student.last_execution?.error?.name,
      student.last_execution?.error?.value,
    ]
      .filter((part) => part != null)
      .join('\n'),
  )
}

function activityOf(view: StudentView): number {
  return view.student.last_activity_at == null ? 0 : Date.parse(view.student.last_activity_at)
}

export function arrange(
  views: readonly StudentView[],
  { search, filter, sort }: { search: string; filter: Filter; sort: Sort },
  collator: Intl.Collator,
): StudentView[] {
  const byName = (a: StudentView, b: StudentView): number =>
    collator.compare(a.label.name, b.label.name) || collator.compare(a.student.username, b.student.username)
  const comparators: Record<Sort, (a: StudentView, b: StudentView) => number> = {
    name: byName,
    attention: (a, b) => compareUrgency(a.reasons, b.reasons) || byName(a, b),
    activity: (a, b) => activityOf(b) - activityOf(a) || byName(a, b),
    errors: (a, b) => b.student.errors - a.student.errors || byName(a, b),
  }
  const filtered = views.filter((view) => matchesFilter(view, filter))
  return matching(filtered, search, searchedOf).toSorted(comparators[sort])
}
