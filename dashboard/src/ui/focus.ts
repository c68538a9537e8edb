import { useLayoutEffect, type RefObject } from 'react'

/** When `element` is removed while it contains the focus, move the focus to `fallback` instead of the document. */
export function useFocusWhenGone(
  element: RefObject<HTMLElement | null>,
  fallback: RefObject<HTMLElement | null> | undefined,
): void {
  useLayoutEffect(() => {
    const node = element.current
    return () => {
      // Runs before the node is removed, so the focus has not moved yet.
      if (node?.contains(document.activeElement) === true) fallback?.current?.focus()
    }
  }, [element, fallback])
}
