import i18next, { type i18n } from 'i18next'
import { initReactI18next } from 'react-i18next'

import { resources } from './resources'

export const languages = ['ja', 'en'] as const
export type Language = (typeof languages)[number]

/** Each language's name in that language; never translated. */
export const languageNames: Readonly<Record<Language, string>> = { ja: '日本語', en: 'English' }

export { resources }

const STORAGE_KEY = 'cell-monitor.language'

export function isLanguage(value: unknown): value is Language {
  return value === 'ja' || value === 'en'
}

/** The language chosen before, else the first supported one of the browser's languages, else English. */
export function preferredLanguage(stored: string | null, browser: readonly string[]): Language {
  if (isLanguage(stored)) return stored
  for (const tag of browser) {
    const primary = tag.toLowerCase().split('-')[0]
    if (isLanguage(primary)) return primary
  }
  return 'en'
}

function readStored(): string | null {
  try {
    return localStorage.getItem(STORAGE_KEY)
  } catch {
    // Storage may be forbidden; the choice is then kept until the page is closed.
    return null
  }
}

export function createI18n(language: Language = preferredLanguage(readStored(), navigator.languages)): i18n {
  const instance = i18next.createInstance()
  void instance.use(initReactI18next).init({
    resources,
    lng: language,
    fallbackLng: 'en',
    supportedLngs: languages,
    initAsync: false,
    // React escapes what it renders.
    interpolation: { escapeValue: false },
    returnNull: false,
  })
  return instance
}

export function currentLanguage(instance: i18n): Language {
  const { language } = instance
  return isLanguage(language) ? language : 'en'
}

export async function chooseLanguage(instance: i18n, language: Language): Promise<void> {
  await instance.changeLanguage(language)
  try {
    localStorage.setItem(STORAGE_KEY, language)
  } catch {
    // See readStored.
  }
}
