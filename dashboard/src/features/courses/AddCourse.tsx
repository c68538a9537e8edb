import { useMutation, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useId, useState, type ReactElement, type SyntheticEvent } from 'react'
import { useTranslation } from 'react-i18next'

import { ApiError } from '../../api/client'
import { useServices } from '../../api/services'
import { isCourseId, isTitle, MAX_TITLE } from '../../course/settings'
import { foreign } from '../../i18n/foreign'
import { Button } from '../../ui/Button'
import { explainChange } from '../../ui/ErrorNotice'
import { Notice } from '../../ui/Notice'

/** A form that adds a course, for admins of the site. */
export function AddCourse(): ReactElement {
  const { t } = useTranslation()
  const id = useId()
  const { api } = useServices()
  const client = useQueryClient()
  const [courseId, setCourseId] = useState('')
  const [title, setTitle] = useState('')
  const [fault, setFault] = useState<'id' | 'title' | null>(null)
  const add = useMutation({
    mutationFn: (course: { course_id: string; title: string }) =>
      api.request<{ course_id: string; title: string }>('courses', { method: 'POST', body: course }),
    onSuccess: () => {
      setCourseId('')
      setTitle('')
    },
    // Also after an error: it may have been added.
    onSettled: () => client.invalidateQueries({ queryKey: ['courses'] }),
  })

  const submit = (event: SyntheticEvent): void => {
    event.preventDefault()
    if (add.isPending) return
    const wish = { course_id: courseId.trim(), title: title.trim() }
    const found = !isCourseId(wish.course_id) ? 'id' : isTitle(wish.title) ? null : 'title'
    setFault(found)
    if (found === null) add.mutate(wish)
    else add.reset()
  }

  return (
    <section className="card add-course" aria-labelledby={`${id}-heading`}>
      <h2 id={`${id}-heading`}>{t('courses.add.title')}</h2>
      <form className="form" aria-labelledby={`${id}-heading`} noValidate onSubmit={submit}>
        <div className="field">
          <label htmlFor={`${id}-id`}>{t('courses.add.id')}</label>
          <input
            id={`${id}-id`}
            maxLength={100}
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            aria-invalid={fault === 'id'}
            aria-describedby={`${id}-rule`}
            value={courseId}
            onChange={(event) => setCourseId(event.target.value)}
          />
          <span id={`${id}-rule`} className="hint">
            {t('courses.add.idHint')}
          </span>
        </div>
        <div className="field">
          <label htmlFor={`${id}-title`}>{t('settings.name')}</label>
          <input
            id={`${id}-title`}
            maxLength={2 * MAX_TITLE}
            autoComplete="off"
            aria-invalid={fault === 'title'}
            value={title}
            onChange={(event) => setTitle(event.target.value)}
          />
        </div>
        {fault !== null && (
          <Notice tone="error" role="alert">
            {t(fault === 'id' ? 'courses.add.fault.id' : 'settings.fault.title')}
          </Notice>
        )}
        {add.isError && (
          <Notice tone="error" role="alert">
            {add.error instanceof ApiError && add.error.status === 409
              ? t('courses.add.fault.taken')
              : explainChange(add.error, t)}
          </Notice>
        )}
        {add.isSuccess && (
          <Notice
            tone="info"
            role="status"
            action={
              <Link
                className="button button--plain"
                to="/courses/$courseId/members"
                params={{ courseId: add.data.course_id }}
              >
                {t('courses.add.members')}
              </Link>
            }
          >
            {t('courses.add.added', { course: foreign(add.data.title) })}
          </Notice>
        )}
        <Button type="submit" variant="primary" pending={add.isPending}>
          {add.isPending ? t('courses.add.adding') : t('courses.add.add')}
        </Button>
      </form>
    </section>
  )
}
