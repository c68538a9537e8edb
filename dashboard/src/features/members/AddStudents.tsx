import { useId, useMemo, useState, type ReactElement } from 'react'
import { useTranslation } from 'react-i18next'

import { isOutcomeUnknown } from '../../api/client'
import type { CourseMember } from '../../api/types'
import { useAnnounce } from '../../ui/Announcer'
import { Button } from '../../ui/Button'
import { explain, explainChange } from '../../ui/ErrorNotice'
import { Notice } from '../../ui/Notice'
import { issuerName } from './issuers'
import { MAX_LIST_BYTES, previewOf, readList, textOf, type FaultyLine, type StudentListing } from './list'
import { refusedLines, type RefusedLine } from './refused'
import { PartlyAdded, useAddStudents } from './useRoster'

/** Lines that are left out: at first, and once all were asked for. */
const FAULTS_AT_FIRST = 5
const FAULTS_AT_MOST = 2_000

interface AddStudentsProps {
  courseId: string
  members: readonly CourseMember[]
  /** Where students may sign in, the usual place first. */
  issuers: readonly string[]
  /** The one of JupyterHub, or null. */
  hub: string | null
}

/** Paste or upload a list of students; what would change is shown before it is sent. */
export function AddStudents({ courseId, members, issuers, hub }: AddStudentsProps): ReactElement {
  const { t } = useTranslation()
  const announce = useAnnounce()
  const [text, setText] = useState('')
  const [unreadable, setUnreadable] = useState(false)
  const [chosen, setChosen] = useState<string | null>(null)
  const issuer = chosen ?? issuers[0] ?? ''
  const add = useAddStudents(courseId, issuer)
  const listId = useId()
  const hintId = useId()
  const listing = useMemo(() => readList(text), [text])
  // A user name of another place is another person.
  const preview = useMemo(
    () => previewOf(listing.students, members.filter((member) => member.issuers.includes(issuer))),
    [listing, members, issuer],
  )
  const changed = [...preview.added, ...preview.renamed]
  const partly = add.error instanceof PartlyAdded ? add.error : null
  const cause = partly === null ? add.error : partly.cause
  const refused = refusedLines(cause, add.variables?.slice(partly?.added ?? 0) ?? [])
  // The list of members shows by now that they were added.
  const turnedOut = isOutcomeUnknown(cause) && changed.length === 0

  const change = (value: string): void => {
    add.reset()
    setUnreadable(false)
    setText(value)
  }
  const read = async (file: File | undefined): Promise<void> => {
    if (file === undefined) return
    const content = file.size > MAX_LIST_BYTES ? null : textOf(await file.arrayBuffer())
    change(content ?? '')
    setUnreadable(content === null)
  }
  const send = (): void => {
    add.mutate(changed, {
      onSuccess: (count) => {
        setText('')
        announce('members', t('members.done', { count }))
      },
    })
  }

  return (
    <section className="card form members-add" aria-labelledby={`${listId}-title`}>
      <h2 id={`${listId}-title`}>{t('members.add')}</h2>
      <p className="hint" id={hintId}>
        {t('members.hint')}
      </p>
      {issuers.length > 1 && (
        <div className="field">
          <label htmlFor={`${listId}-issuer`}>{t('members.signInAt')}</label>
          <select
            id={`${listId}-issuer`}
            value={issuer}
            onChange={(event) => {
              add.reset()
              setChosen(event.target.value)
            }}
          >
            {issuers.map((each) => (
              <option key={each} value={each}>
                {issuerName(each, hub, t)}
              </option>
            ))}
          </select>
        </div>
      )}
      <div className="field">
        <label htmlFor={listId}>{t('members.paste')}</label>
        <textarea
          id={listId}
          className="members-add__list"
          rows={6}
          spellCheck={false}
          maxLength={MAX_LIST_BYTES}
          aria-describedby={hintId}
          value={text}
          onChange={(event) => change(event.target.value)}
        />
      </div>
      <div className="field">
        <label htmlFor={`${listId}-file`}>{t('members.upload')}</label>
        <input
          id={`${listId}-file`}
          type="file"
          accept=".csv,.tsv,.txt,text/csv,text/plain"
          onChange={(event) => {
            const input = event.target
            void read(input.files?.[0]).then(() => {
              // The same file can be chosen again after it was corrected.
              input.value = ''
            })
          }}
        />
      </div>
      {unreadable && (
        <Notice tone="error" role="alert">
          {t('members.unreadable')}
        </Notice>
      )}
      {text.trim() !== '' && <Changes listing={listing} preview={preview} />}
      {add.isError && !turnedOut && (
        <Notice tone="error" role="alert">
          {refused.length > 0 && partly === null && t('members.refused')}
          {refused.length === 0 && partly === null && explainChange(add.error, t)}
          {partly !== null &&
            t('members.partly', {
              added: partly.added,
              count: partly.total,
              message: refused.length > 0 ? t('members.refusedRest') : explainChange(cause, t),
            })}
          {refused.length > 0 && <Refused lines={refused} />}
        </Notice>
      )}
      {add.isSuccess && text === '' && (
        <Notice tone="info" role="status">
          {t('members.done', { count: add.data })}
        </Notice>
      )}
      {changed.length > 0 && (
        <Button variant="primary" pending={add.isPending} onClick={send}>
          {add.isPending ? t('members.sending') : t('members.send', { count: changed.length })}
        </Button>
      )}
    </section>
  )
}

interface ChangesProps {
  listing: StudentListing
  preview: ReturnType<typeof previewOf>
}

function Changes({ listing, preview }: ChangesProps): ReactElement {
  const { t } = useTranslation()
  return (
    <>
      <ul className="members-add__changes" aria-label={t('members.preview')}>
        <li>{t('members.new', { count: preview.added.length })}</li>
        {preview.renamed.length > 0 && <li>{t('members.renamed', { count: preview.renamed.length })}</li>}
        {preview.unchanged > 0 && <li>{t('members.unchanged', { count: preview.unchanged })}</li>}
        {preview.staff > 0 && <li>{t('members.staffKept', { count: preview.staff })}</li>}
      </ul>
      {listing.faults.length > 0 && <Faults faults={listing.faults} />}
    </>
  )
}

/** The lines of a list that the server refused, each with the reason. */
function Refused({ lines }: { lines: readonly RefusedLine[] }): ReactElement {
  const { t } = useTranslation()
  return (
    <ul className="members-add__changes members-add__faults" aria-label={t('members.refusedLines')}>
      {lines.map(({ line, name, error }, index) => (
        <li key={index}>
          {t('members.refusedLine', {
            line,
            name,
            message: explain(error, t),
          })}
        </li>
      ))}
    </ul>
  )
}

/** Every line that is left out, with the reason; after the first ones on request. */
function Faults({ faults }: { faults: readonly FaultyLine[] }): ReactElement {
  const { t } = useTranslation()
  const listId = useId()
  const [all, setAll] = useState(false)
  const shown = faults.slice(0, all ? FAULTS_AT_MOST : FAULTS_AT_FIRST)
  const more = faults.length - shown.length
  return (
    <>
      <p className="members-add__fault">{t('members.leftOut', { count: faults.length })}</p>
      <ul id={listId} className="members-add__changes members-add__faults" aria-label={t('members.faults')}>
        {shown.map(({ line, fault, first }) => (
          <li key={line} className="members-add__fault">
            {t(`members.fault.${fault}`, { line, first })}
          </li>
        ))}
        {more > 0 && <li className="members-add__fault">{t('members.moreFaults', { count: more })}</li>}
      </ul>
      {faults.length > FAULTS_AT_FIRST && (
        <Button aria-expanded={all} aria-controls={listId} onClick={() => setAll(!all)}>
          {all ? t('members.fewerFaults') : t('members.allFaults')}
        </Button>
      )}
    </>
  )
}
