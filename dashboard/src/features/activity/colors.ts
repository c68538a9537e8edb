import { useMemo } from 'react'

import type { Theme } from '../../ui/theme'

export interface ChartColors {
  runs: string
  runsFill: string
  errors: string
  errorsFill: string
  text: string
  line: string
}

const variables: Readonly<Record<keyof ChartColors, string>> = {
  runs: '--chart-runs',
  runsFill: '--chart-runs-fill',
  errors: '--chart-errors',
  errorsFill: '--chart-errors-fill',
  text: '--text-muted',
  line: '--border',
}

/** Return the theme's colours for a canvas, which cannot use custom properties: an element resolves them. */
function resolve(theme: Theme): ChartColors {
  const probe = document.createElement('span')
  probe.style.colorScheme = theme
  document.body.append(probe)
  const colors = {} as ChartColors
  for (const name of Object.keys(variables) as (keyof ChartColors)[]) {
    probe.style.color = `var(${variables[name]})`
    colors[name] = getComputedStyle(probe).color
  }
  probe.remove()
  return colors
}

export function useColors(theme: Theme): ChartColors {
  return useMemo(() => resolve(theme), [theme])
}
