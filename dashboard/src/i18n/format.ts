import type { TFunction } from 'i18next'
import { useMemo } from 'react'
import { useTranslation } from 'react-i18next'

import type { CellRef, NotebookRef } from '../api/types'
import { currentLanguage, type Language } from '.'
import { foreignFile, foreignName, type Length } from './foreign'

export type { Length }

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** Where something is or was. */
export interface Place {
  notebook?: NotebookRef | null | undefined
  cell?: CellRef | null | undefined
  /** The cell is gone: another one may have its name now. */
  cell_removed?: boolean | undefined
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'

/** The n-th code cell below a heading, from 1. */
function cellName(heading: string, ordinal: number): string {
  return ordinal <= 1 ? heading : `${heading} · ${LETTERS[ordinal - 1] ?? String(ordinal)}`
}

/** Dates, durations, figures and names of things in the page's language and the browser's time zone. */
export class Format {
  readonly #t: TFunction
  readonly #time: Intl.DateTimeFormat
  readonly #seconds: Intl.DateTimeFormat
  readonly #dateTime: Intl.DateTimeFormat
  readonly #date: Intl.DateTimeFormat
  readonly #moment: Intl.DateTimeFormat
  readonly #day: Intl.DateTimeFormat
  readonly #number: Intl.NumberFormat
  readonly #percent: Intl.NumberFormat
  readonly #units = new Map<string, Intl.NumberFormat>()
  readonly collator: Intl.Collator

  constructor(
    readonly language: Language,
    t: TFunction,
    private readonly timeZone?: string,
  ) {
    this.#t = t
    const zone = timeZone === undefined ? {} : { timeZone }
    const hour = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...zone } as const
    this.#time = new Intl.DateTimeFormat(language, hour)
    this.#seconds = new Intl.DateTimeFormat(language, { ...hour, second: '2-digit' })
    this.#dateTime = new Intl.DateTimeFormat(language, { month: 'short', day: 'numeric', ...hour })
    this.#date = new Intl.DateTimeFormat(language, { dateStyle: 'medium', ...zone })
    this.#moment = new Intl.DateTimeFormat(language, {
      year: 'numeric',
      month: 'short',
      day: 'numeric',
      ...hour,
      second: '2-digit',
    })
    this.#day = new Intl.DateTimeFormat('en-CA', { dateStyle: 'short', ...zone })
    this.#number = new Intl.NumberFormat(language)
    this.#percent = new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 0 })
    this.collator = new Intl.Collator(language, { numeric: true, sensitivity: 'base' })
  }

  /** Hours and minutes; with the date if it is not the day of `now`. Empty for what is not a time. */
  time(at: string | number, now: number): string {
    const date = new Date(at)
    if (Number.isNaN(date.getTime())) return ''
    const sameDay = this.#day.format(date) === this.#day.format(now)
    return (sameDay ? this.#time : this.#dateTime).format(date)
  }

  /** The day with its year. Empty for what is not a time. */
  date(at: string): string {
    const date = new Date(at)
    return Number.isNaN(date.getTime()) ? '' : this.#date.format(date)
  }

  timeWithSeconds(at: string | number): string {
    const date = new Date(at)
    return Number.isNaN(date.getTime()) ? '' : this.#seconds.format(date)
  }

  /** Date and time to the second. Empty for what is not a time. */
  moment(at: string | number): string {
    const date = new Date(at)
    return Number.isNaN(date.getTime()) ? '' : this.#moment.format(date)
  }

  /** "5 min", "1 hr 20 min"; whole minutes, because changing seconds would be a distraction. */
  duration(ms: number): string {
    if (ms < MINUTE_MS) return this.#t('time.underMinute')
    if (ms < HOUR_MS) return this.#unit(Math.floor(ms / MINUTE_MS), 'minute')
    if (ms < DAY_MS) {
      const hours = this.#unit(Math.floor(ms / HOUR_MS), 'hour')
      const minutes = Math.floor((ms % HOUR_MS) / MINUTE_MS)
      if (minutes === 0) return hours
      return this.#t('time.pair', { first: hours, second: this.#unit(minutes, 'minute') })
    }
    return this.#unit(Math.floor(ms / DAY_MS), 'day')
  }

  /** How far the page is behind: "45 s", "2 min". Whole seconds, which count up while one looks at it. */
  delay(ms: number): string {
    return ms < MINUTE_MS ? this.#t('time.seconds', { seconds: Math.floor(ms / 1000) }) : this.duration(ms)
  }

  /** How long a run took: "12 ms", "1.4 sec", "2 min". */
  exactDuration(ms: number): string {
    if (ms < 1000) return this.#unit(Math.round(ms), 'millisecond')
    if (ms < MINUTE_MS) return this.#unit(Math.round(ms / 100) / 10, 'second')
    return this.duration(ms)
  }

  /** A threshold in seconds: "8 sec", "3 min". */
  span(seconds: number): string {
    return seconds < 60 ? this.#unit(Math.ceil(seconds), 'second') : this.duration(seconds * 1000)
  }

  ago(at: string | number, now: number): string {
    const ms = now - new Date(at).getTime()
    if (Number.isNaN(ms)) return ''
    return ms < MINUTE_MS ? this.#t('time.justNow') : this.#t('time.ago', { duration: this.duration(ms) })
  }

  number(value: number): string {
    return this.#number.format(value)
  }

  percent(share: number): string {
    return this.#percent.format(share)
  }

  bytes(size: number): string {
    if (size < 1024) return this.#unit(size, 'byte')
    if (size < 1024 * 1024) return this.#unit(Math.round(size / 1024), 'kilobyte')
    return this.#unit(Math.round(size / 1024 / 102.4) / 10, 'megabyte')
  }

  /** Name of the zone that all times are in: "Asia/Tokyo (JST)". */
  zone(at = Date.now()): string {
    const options = this.timeZone === undefined ? {} : { timeZone: this.timeZone }
    const formatter = new Intl.DateTimeFormat(this.language, { ...options, timeZoneName: 'short' })
    const short = formatter.formatToParts(at).find((part) => part.type === 'timeZoneName')?.value
    const { timeZone } = formatter.resolvedOptions()
    return short === undefined || short === timeZone ? timeZone : `${timeZone} (${short})`
  }

  notebook(notebook: NotebookRef | null | undefined, length: Length = 'short'): string {
    if (notebook == null) return ''
    const { title, path, id } = notebook
    return foreignName(title, length) || foreignName(foreignFile(path), length) || foreignName(id, length)
  }

  /**
   * The name of a cell, the same everywhere: the heading above it with a letter from the second code cell below it on
   * ("Exercise 1", "Exercise 1 · b"). From a sender that does not count the cells, or without a heading, it is named by
   * its position in the notebook, counted from one ("Exercise 1 (cell 5)", "Cell 5"). Of a long heading the middle is left out.
   */
  cell(cell: CellRef | null | undefined, length: Length = 'short'): string {
    if (cell == null) return ''
    const heading = foreignName(cell.heading, length)
    const number = this.number(cell.index + 1)
    if (heading === '') return this.#t('cell.index', { number })
    if (cell.ordinal != null) return cellName(heading, cell.ordinal)
    return cell.type === 'code' ? this.#t('cell.headingIndex', { heading, number }) : heading
  }

  /** Notebook and cell in one: "week 3 · Exercise 1". */
  place(place: Place, length: Length = 'short'): string {
    // The cell says more than the notebook does: it is not left out for a long name of that one.
    return [this.notebook(place.notebook, length === 'whole' ? length : 'narrow'), this.cellOf(place, length)].filter(Boolean).join(' · ')
  }

  /** The name of the cell of a place, which may be gone. */
  cellOf({ cell, cell_removed: removed }: Place, length: Length = 'short'): string {
    const name = this.cell(cell, length)
    return removed === true && name !== '' ? this.#t('cell.removed', { name }) : name
  }

  /**
   * The place of a fact as it is shown beside another place: only what is not said by that one. Empty if the fact is of
   * the same cell, or its cell is not known.
   */
  placeBeside(fact: Place, beside: Place, length: Length = 'short'): string {
    if (fact.cell == null) return ''
    const elsewhere = fact.notebook != null && fact.notebook.id !== beside.notebook?.id
    if (elsewhere) return this.place(fact, length)
    // Beside a cell that is there, one that is gone is not passed over.
    return fact.cell_removed !== true && fact.cell.source_id === beside.cell?.source_id ? '' : this.cellOf(fact, length)
  }

  #unit(value: number, unit: string): string {
    let formatter = this.#units.get(unit)
    if (formatter === undefined) {
      formatter = new Intl.NumberFormat(this.language, { style: 'unit', unit, unitDisplay: 'short' })
      this.#units.set(unit, formatter)
    }
    return formatter.format(value)
  }
}

export function useFormat(): Format {
  const { t, i18n } = useTranslation()
  const language = currentLanguage(i18n)
  return useMemo(() => new Format(language, t), [language, t])
}
