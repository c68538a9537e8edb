import { Link, type LinkProps } from '@tanstack/react-router'
import type { ReactElement, ReactNode } from 'react'

import { Icon } from '../ui/Icon'

interface CourseBarProps {
  title: string
  /** Where the arrow in front of the title leads, and what it is called. */
  back: Pick<LinkProps, 'to' | 'params'> & { label: string }
  /** What is behind the title. */
  children?: ReactNode
}

/** The bar at the top of a course's pages. */
export function CourseBar({ title, back: { label, ...target }, children }: CourseBarProps): ReactElement {
  return (
    <div className="course-bar">
      <div className="course-bar__inner">
        <Link {...target} className="course-bar__back" aria-label={label}>
          <Icon name="back" />
        </Link>
        <h1 className="course-bar__title">{title}</h1>
        {children}
      </div>
    </div>
  )
}
