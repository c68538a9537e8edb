import { useMutation, useQueryClient, type UseMutationResult } from '@tanstack/react-query'

import { addStudents, membersKey, removeMember } from '../../api/queries'
import { useServices } from '../../api/services'
import type { Listed } from './list'

/** As many members as one request may name; docs/dev/contracts.md. */
const AT_ONCE = 500

/** Some of a list were added, then a request failed. */
export class PartlyAdded extends Error {
  override readonly name = 'PartlyAdded'
  constructor(
    readonly added: number,
    readonly total: number,
    override readonly cause: unknown,
  ) {
    super('some were added')
  }
}

/**
 * Add students, or bring their names up to date. Sending the same list again adds the rest.
 *
 * @param issuer - where they sign in
 */
export function useAddStudents(courseId: string, issuer: string): UseMutationResult<number, Error, readonly Listed[]> {
  const { api } = useServices()
  const client = useQueryClient()
  return useMutation({
    mutationFn: async (students: readonly Listed[]) => {
      for (let start = 0; start < students.length; start += AT_ONCE) {
        try {
          await addStudents(api, courseId, students.slice(start, start + AT_ONCE), issuer)
        } catch (error) {
          if (start === 0) throw error
          throw new PartlyAdded(start, students.length, error)
        }
      }
      return students.length
    },
    onSettled: () => client.invalidateQueries({ queryKey: membersKey(courseId) }),
  })
}

/** Take one person off the roster. */
export function useRemoveMember(courseId: string, personId: string): UseMutationResult<undefined, Error, undefined> {
  const { api } = useServices()
  const client = useQueryClient()
  return useMutation({
    mutationFn: () => removeMember(api, courseId, personId),
    // Also after an error: it may have been done.
    onSettled: () => client.invalidateQueries({ queryKey: membersKey(courseId) }),
  })
}
