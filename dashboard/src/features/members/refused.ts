/** Which lines of a list the server refused. Pure. */

import { ApiError } from '../../api/client'
import { shownUsername } from '../../course/names'
import { shortened } from '../../i18n/foreign'
import type { Listed } from './list'

export interface RefusedLine {
  line: number
  /** Whose line it is. */
  name: string
  /** The server's code and its words. */
  type: string
  message: string
}

/**
 * The lines of a request that an error names, by its `loc`, `["body", "members", position, …]`; none where it names none.
 *
 * @param error - what the request failed with.
 * @param sent - the students of that request.
 */
export function refusedLines(error: unknown, sent: readonly Listed[]): RefusedLine[] {
  if (!(error instanceof ApiError)) return []
  return error.details.flatMap(({ type, msg, loc }) => {
    const [body, members, position] = loc ?? []
    const student = body === 'body' && members === 'members' && typeof position === 'number' ? sent[position] : undefined
    return student === undefined ? [] : [{ line: student.line, name: shortened(shownUsername(student.username)), type, message: msg }]
  })
}
