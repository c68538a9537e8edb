/** Which lines of a list the server refused. Pure. */

import { ApiError } from '../../api/client'
import { shownUsername } from '../../course/names'
import { shortened } from '../../i18n/foreign'
import type { Listed } from './list'

export interface RefusedLine {
  line: number
  /** Whose line it is. */
  name: string
  /** The server's words about this line. */
  error: ApiError
}

/**
 * The lines of a request that an error names, by its `loc`, `["body", "members", position, …]`; none where it names none.
 *
 * @param error - what the request failed with.
 * @param sent - the students of that request.
 */
export function refusedLines(error: unknown, sent: readonly Listed[]): RefusedLine[] {
  if (!(error instanceof ApiError)) return []
  return error.details.flatMap((detail) => {
    const { type, msg, loc } = detail
    const [body, members, position] = loc ?? []
    const student = body === 'body' && members === 'members' && typeof position === 'number' ? sent[position] : undefined
    return student === undefined ? [] : [{ line: student.line, name: shortened(shownUsername(student.username)), error: new ApiError(error.status, type, msg, null, [detail]) }]
  })
}
