import { useSyncExternalStore } from 'react'

export type Theme = 'light' | 'dark'

const STORAGE_KEY = 'cell-monitor.theme'
const listeners = new Set<() => void>()

function darkPreferred(): MediaQueryList {
  return matchMedia('(prefers-color-scheme: dark)')
}

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(STORAGE_KEY)
    return value === 'light' || value === 'dark' ? value : null
  } catch {
    return null
  }
}

let chosen: Theme | null = null

function current(): Theme {
  return chosen ?? (darkPreferred().matches ? 'dark' : 'light')
}

function apply(): void {
  // Without a choice the style sheet follows the system.
  if (chosen === null) delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = chosen
}

export function restoreTheme(): void {
  chosen = stored()
  apply()
}

export function chooseTheme(theme: Theme): void {
  chosen = theme
  apply()
  try {
    localStorage.setItem(STORAGE_KEY, theme)
  } catch {
    // Without storage the choice is kept until the page is closed.
  }
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void): () => void {
  const media = darkPreferred()
  listeners.add(listener)
  media.addEventListener('change', listener)
  return () => {
    listeners.delete(listener)
    media.removeEventListener('change', listener)
  }
}

export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, current)
}
