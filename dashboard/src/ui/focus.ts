import { useLayoutEffect, type RefObject } from 'react'

/** When `element` leaves the page with the focus in it, `fallback` takes the focus instead of the page's top. */
export function useFocusWhenGone(
  element: RefObject<HTMLElement | null>,
  fallback: RefObject<HTMLElement | null> | undefined,
): void {
  useLayoutEffect(() => {
    const node = element.current
    return () => {
      // Runs before the node is taken out, so the focus is still where it was.
      if (node?.contains(document.activeElement) === true) fallback?.current?.focus()
    }
  }, [element, fallback])
}
