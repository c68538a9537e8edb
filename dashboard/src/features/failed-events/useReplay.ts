import { useMutation, useQueryClient, type UseMutationResult } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState } from 'react'

import { useServices } from '../../api/services'
import type { ReplayStep } from '../../api/types'
import { failedEventsKey, replayStep, type FailedSelection } from './failedEvents'

/** How far a replay has come; all are failed events. */
export interface ReplayProgress {
  queued: number
  unreadable: number
  remaining: number
}

const NOTHING: ReplayProgress = { queued: 0, unreadable: 0, remaining: 0 }

export interface Replay {
  mutation: UseMutationResult<undefined, Error, FailedSelection>
  /** Of the replay that goes on, or of the last one. */
  progress: ReplayProgress
  /** Ends the replay after the step that goes on. */
  stop: () => void
  stopping: boolean
}

/** Replays step by step until nothing remains, `stop` is called or the page is left. */
export function useReplay(): Replay {
  const { api } = useServices()
  const client = useQueryClient()
  const [progress, setProgress] = useState(NOTHING)
  const [stopping, setStopping] = useState(false)
  const stopped = useRef(false)
  const mutation = useMutation({
    mutationFn: async (selection: FailedSelection): Promise<undefined> => {
      stopped.current = false
      setStopping(false)
      setProgress(NOTHING)
      const goesOn = (): boolean => !stopped.current
      let before: ReplayStep | null = null
      while (before === null || (before.remaining > 0 && goesOn())) {
        const step: ReplayStep = await replayStep(api, selection, before)
        setProgress(({ queued, unreadable }) => ({
          queued: queued + step.queued,
          unreadable: unreadable + step.unreadable,
          remaining: step.remaining,
        }))
        before = step
      }
    },
    onSettled: () => client.invalidateQueries({ queryKey: failedEventsKey }),
  })
  const stop = useCallback((): void => {
    stopped.current = true
    setStopping(true)
  }, [])
  useEffect(
    () => () => {
      stopped.current = true
    },
    [],
  )
  return { mutation, progress, stop, stopping }
}
