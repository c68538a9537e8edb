import type { ReactElement } from 'react'

import { shortened } from '../i18n/foreign'
import type { PersonLabel } from './names'

/** How much of a user name is shown, in columns of a Latin letter: two lines of the narrowest list. */
const ACCOUNT_COLUMNS = 24

/** A person's name, with the user name in grey where the name alone does not say who it is. */
export function PersonName({ label }: { label: PersonLabel }): ReactElement {
  return (
    <>
      <bdi className="person">{label.name}</bdi>
      {label.account !== null && (
        <>
          {' '}
          <bdi className="person__username" title={label.account}>{shortened(label.account, ACCOUNT_COLUMNS)}</bdi>
        </>
      )}
    </>
  )
}
