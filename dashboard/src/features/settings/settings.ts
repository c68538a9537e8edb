/** The settings of a course: requests, and what of a form is to be sent. */

import { queryOptions, useMutation, useQueryClient, type UseMutationResult } from '@tanstack/react-query'

import { isOutcomeUnknown, type ApiClient } from '../../api/client'
import { courseKey, segment } from '../../api/queries'
import { useServices } from '../../api/services'
import type { ChangedSettings, CourseSettings, GroupLink, Role } from '../../api/types'
import { isTitle, thresholdNames, type ThresholdName } from '../../course/settings'

export const MAX_GROUP = 512

const pathOf = (courseId: string): string => `courses/${segment(courseId)}`

const settingsKey = (courseId: string) => ['settings', courseId] as const

export const settingsQuery = (api: ApiClient, courseId: string) =>
  queryOptions({
    queryKey: settingsKey(courseId),
    queryFn: ({ signal }) => api.request<CourseSettings>(`${pathOf(courseId)}/settings`, { signal }),
  })

const roles: readonly Role[] = ['student', 'observer', 'assistant', 'instructor']

/** The roles that the groups of an issuer give; none where it is not configured. */
export function rolesOf(issuer: string, { issuers, staff_only_issuers: staffOnly }: CourseSettings): readonly Role[] {
  if (!issuers.includes(issuer)) return []
  return staffOnly.includes(issuer) ? roles.filter((role) => role !== 'student') : roles
}

/** Whether a link gives its role to anybody. */
export function isEffective({ issuer, role }: GroupLink, settings: CourseSettings): boolean {
  return rolesOf(issuer, settings).includes(role)
}

/** What somebody typed. */
export interface SettingsForm {
  title: string
  thresholds: Record<ThresholdName, string>
}

export function formOf({ title, thresholds }: CourseSettings): SettingsForm {
  return {
    title,
    thresholds: {
      stuck_errors: String(thresholds.stuck_errors),
      kernel_deaths: String(thresholds.kernel_deaths),
      long_run_s: String(thresholds.long_run_s),
      idle_s: String(thresholds.idle_s),
      offline_s: String(thresholds.offline_s),
    },
  }
}

export type SettingsFault = { in: 'title' } | { in: ThresholdName; lowest: number; highest: number }

/** Return the first fault of a form, or null. */
export function faultOf(form: SettingsForm, { bounds }: CourseSettings): SettingsFault | null {
  if (!isTitle(form.title.trim())) return { in: 'title' }
  for (const name of thresholdNames) {
    const { lowest, highest } = bounds[name] ?? { lowest: 1, highest: Number.MAX_SAFE_INTEGER }
    const value = form.thresholds[name].trim()
    if (!/^\d+$/u.test(value) || Number(value) < lowest || Number(value) > highest) return { in: name, lowest, highest }
  }
  return null
}

/**
 * Return what differs from the settings that the form was filled from: the rest stays as others have set it.
 *
 * @param unsure - what was sent and may have been stored: it is sent again, also where the form has its former value
 */
export function changesOf(
  form: SettingsForm,
  before: CourseSettings,
  unsure: ChangedSettings | null = null,
): ChangedSettings | null {
  const title = form.title.trim()
  const thresholds = Object.fromEntries(
    thresholdNames
      .map((name) => [name, Number(form.thresholds[name])] as const)
      .filter(([name, value]) => value !== before.thresholds[name] || unsure?.thresholds?.[name] !== undefined),
  )
  const changes: ChangedSettings = {
    ...((title !== before.title || unsure?.title !== undefined) && { title }),
    ...(Object.keys(thresholds).length > 0 && { thresholds }),
  }
  return Object.keys(changes).length > 0 ? changes : null
}

function useSettingsMutation<Wish>(
  courseId: string,
  ask: (api: ApiClient, wish: Wish) => Promise<CourseSettings>,
): UseMutationResult<CourseSettings, Error, Wish> {
  const { api } = useServices()
  const client = useQueryClient()
  return useMutation({
    mutationFn: (wish: Wish) => ask(api, wish),
    onSuccess: (settings) => {
      client.setQueryData(settingsKey(courseId), settings)
      // Pages that name the course or judge by its thresholds.
      void client.invalidateQueries({ queryKey: courseKey(courseId) })
      void client.invalidateQueries({ queryKey: ['courses'] })
    },
    onError: (error) => {
      if (isOutcomeUnknown(error)) void client.invalidateQueries({ queryKey: settingsKey(courseId) })
    },
  })
}

/** Change settings; what is not named stays. */
export const useChangeSettings = (courseId: string): UseMutationResult<CourseSettings, Error, ChangedSettings> =>
  useSettingsMutation(courseId, (api, body: ChangedSettings) =>
    api.request<CourseSettings>(`${pathOf(courseId)}/settings`, { method: 'PATCH', body }),
  )

/** Let the members of a group have a role. */
export const useLinkGroup = (courseId: string): UseMutationResult<CourseSettings, Error, GroupLink> =>
  useSettingsMutation(courseId, (api, body: GroupLink) =>
    api.request<CourseSettings>(`${pathOf(courseId)}/group-links`, { method: 'POST', body }),
  )

/** Remove the link of a group. */
export const useUnlinkGroup = (courseId: string): UseMutationResult<CourseSettings, Error, GroupLink> =>
  useSettingsMutation(courseId, (api, { issuer, group, role }: GroupLink) =>
    api.request<CourseSettings>(
      `${pathOf(courseId)}/group-links?${new URLSearchParams({ issuer, group, role }).toString()}`,
      { method: 'DELETE' },
    ),
  )
