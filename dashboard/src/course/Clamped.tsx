import type { ReactElement } from 'react'

interface ClampedProps {
  /** What is shown, on two lines at most. */
  text: string
  /** All of it, for the title. */
  whole: string
  className?: string
}

/** A name that somebody else wrote: on two lines at most, whatever their width, and whole in the title. */
export function Clamped({ text, whole, className }: ClampedProps): ReactElement {
  return (
    <span className={className === undefined ? 'clamped' : `clamped ${className}`} title={whole === '' ? undefined : whole}>
      {text}
    </span>
  )
}
