import { useQuery } from '@tanstack/react-query'

import { coursesQuery } from '../api/queries'
import { useServices } from '../api/services'
import { foreign } from '../i18n/foreign'

/** A course's title as far as it is known, else its id. */
export function useCourseName(courseId: string): string {
  const { api } = useServices()
  const courses = useQuery(coursesQuery(api))
  return foreign(courses.data?.find((each) => each.course_id === courseId)?.title ?? '') || courseId
}
