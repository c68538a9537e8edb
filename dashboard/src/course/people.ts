import { createContext, use } from 'react'
import { useTranslation } from 'react-i18next'

import type { Role } from '../api/types'
import type { PersonLabel } from './names'

/** The staff of the course on screen, and the person who is signed in. */
export interface People {
  staff: ReadonlyMap<string, PersonLabel>
  /** Person id of the signed-in person; empty until known. */
  me: string
  role: Role
}

export const PeopleContext = createContext<People>({ staff: new Map(), me: '', role: 'observer' })

export function usePeople(): People & { nameOf: (personId: string | null) => string } {
  const { t } = useTranslation()
  const people = use(PeopleContext)
  return { ...people, nameOf: (personId) => people.staff.get(personId ?? '')?.text ?? t('help.someone') }
}
