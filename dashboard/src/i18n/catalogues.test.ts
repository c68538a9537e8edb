import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { createI18n, languages, preferredLanguage, resources, type Language } from '.'

type Catalogue = Map<string, string>

function flatten(tree: object, prefix = ''): [string, string][] {
  return Object.entries(tree).flatMap(([key, value]: [string, unknown]) =>
    typeof value === 'string' ? [[prefix + key, value]] : flatten(value as object, `${prefix}${key}.`),
  )
}

const catalogues = Object.fromEntries(
  languages.map((language) => [language, new Map(flatten(resources[language].translation))]),
) as unknown as Record<Language, Catalogue>

const plural = /_(zero|one|two|few|many|other)$/u
const baseOf = (key: string) => key.replace(plural, '')
const isPlural = (key: string) => plural.test(key)
const bases = (catalogue: Catalogue) => [...new Set([...catalogue.keys()].map(baseOf))].sort()
const placeholders = (text: string) => [...text.matchAll(/\{\{(\w+)(?:, number)?\}\}/gu)].map((match) => match[1]!)

/** All TypeScript sources except tests. */
function sources(folder = 'src'): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/u.test(name) && !/\.test\.|testing/u.test(name))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
}

describe('catalogues', () => {
  it('have the same texts in every language', () => {
    expect(bases(catalogues.ja)).toEqual(bases(catalogues.en))
  })

  it.each(languages)('have every plural form that %s needs, and no other', (language) => {
    const catalogue = catalogues[language]
    const needed = new Intl.PluralRules(language).resolvedOptions().pluralCategories
    const counted = [...new Set([...catalogue.keys()].filter(isPlural).map(baseOf))]
    expect(counted.length).toBeGreaterThan(0)
    for (const base of counted) {
      const forms = [...catalogue.keys()].filter((key) => isPlural(key) && baseOf(key) === base)
      expect(forms.sort()).toEqual(needed.map((form) => `${base}_${form}`).sort())
    }
  })

  it('fill in the same values in every language', () => {
    const values = (catalogue: Catalogue, base: string) =>
      new Set([...catalogue].filter(([key]) => baseOf(key) === base).flatMap(([, text]) => placeholders(text)))
    for (const base of bases(catalogues.en)) {
      // The singular may name a person instead of the count.
      const sets = languages.map((language) => [...values(catalogues[language], base)].filter((name) => name !== 'count'))
      expect({ base, values: sets[0]!.sort() }).toEqual({ base, values: sets[1]!.sort() })
    }
  })

  it('write every count as a number of the language, so that 1001 reads 1,001 everywhere', () => {
    for (const catalogue of Object.values(catalogues)) {
      for (const [key, text] of catalogue) expect({ key, bare: /\{\{(?:count|shown)\}\}/u.test(text) }).toEqual({ key, bare: false })
    }
    expect(createI18n('en').t('students.count', { shown: 1001, count: 1001 })).toBe('1,001 of 1,001 students')
    expect(createI18n('ja').t('students.count', { shown: 1, count: 12345 })).toBe('12,345 人中 1 人')
  })

  it('have no empty text, and no English left in Japanese', () => {
    for (const catalogue of Object.values(catalogues)) for (const text of catalogue.values()) expect(text.trim()).not.toBe('')
    const same = [...catalogues.en].filter(([key, text]) => catalogues.ja.get(key) === text).map(([key]) => key)
    expect(same.sort()).toEqual(['app.name', 'course.titleWithHelp', 'members.issuer.hub', 'members.source.hub', 'students.none', 'time.pair'])
  })

  it('have no text that is not used', () => {
    const code = sources().join('\n')
    const used = new Set([...code.matchAll(/\bt\(\s*'([\w.]+)'/gu)].map((match) => match[1]!))
    const patterns = [...code.matchAll(/\bt\(\s*`([\w.]*)\$\{/gu)].map((match) => match[1]!)
    for (const match of code.matchAll(/'((?:[a-z]\w*\.)+\w+)'/gu)) used.add(match[1]!)
    const unused = bases(catalogues.en).filter(
      (base) => !used.has(base) && !patterns.some((prefix) => base.startsWith(prefix)),
    )
    expect(unused).toEqual([])
  })
})

describe('language', () => {
  it('is the one chosen before, else the first of the browser’s that there is, else English', () => {
    expect(preferredLanguage('en', ['ja-JP'])).toBe('en')
    expect(preferredLanguage(null, ['fr-FR', 'ja', 'en'])).toBe('ja')
    expect(preferredLanguage('xx', ['fr'])).toBe('en')
  })
})
