import { useId, type ReactElement } from 'react'

interface FindFieldProps {
  /** What is searched, and the name of the search. */
  label: string
  value: string
  onChange: (text: string) => void
}

/** A field that narrows the list below it while somebody types. */
export function FindField({ label, value, onChange }: FindFieldProps): ReactElement {
  const id = useId()
  return (
    <div className="field find" role="search" aria-label={label}>
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        type="search"
        maxLength={200}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
    </div>
  )
}
