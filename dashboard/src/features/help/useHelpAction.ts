import { useMutation, useQueryClient, type UseMutationResult } from '@tanstack/react-query'

import { ApiError, isOutcomeUnknown } from '../../api/client'
import { actOnHelp, type HelpAction } from '../../api/queries'
import { courseStateQuery, stateKey } from '../../live/snapshot'
import type { HelpState } from '../../api/types'
import { useServices } from '../../api/services'
import { patchHelp, type LiveSnapshot } from '../../live/patch'

/** The duration of a double click: its second click must not hit the button that replaces the first one. */
export const MIN_PENDING_MS = 500

/**
 * Claim, hand back or resolve one request. Nothing changes on screen before the server confirms it: otherwise two
 * people could each rely on the other, and the student would get no help.
 */
export function useHelpAction(courseId: string, requestId: string): UseMutationResult<HelpState, Error, HelpAction> {
  const { api } = useServices()
  const cache = useQueryClient()
  return useMutation({
    mutationFn: async (action: HelpAction) => {
      const pause = new Promise((resolve) => setTimeout(resolve, MIN_PENDING_MS))
      const [answer] = await Promise.allSettled([actOnHelp(api, courseId, requestId, action), pause])
      if (answer.status === 'rejected') throw answer.reason
      return answer.value
    },
    onSuccess: (request) => {
      cache.setQueryData<LiveSnapshot>(stateKey(courseId), (held) => held && patchHelp(held, request))
    },
    onError: (error) => {
      // Another person was faster, or it may have been done: fetch the current state, also while the live connection is down.
      if (isOutcomeUnknown(error) || (error instanceof ApiError && error.status === 409)) {
        void cache
          .query({ ...courseStateQuery(api, cache, courseId), staleTime: 0 })
          .catch(() => undefined)
      }
    },
  })
}
