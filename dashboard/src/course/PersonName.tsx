import type { ReactElement } from 'react'

import type { PersonLabel } from './names'

/** A person's name, with the user name in grey where the name alone does not say who it is. */
export function PersonName({ label }: { label: PersonLabel }): ReactElement {
  return (
    <>
      <bdi className="person">{label.name}</bdi>
      {label.account !== null && (
        <>
          {' '}
          <bdi className="person__username">{label.account}</bdi>
        </>
      )}
    </>
  )
}
