/** The page's own texts, by language. */

import en from './en.json'
import ja from './ja.json'

export const resources = { en: { translation: en }, ja: { translation: ja } } as const
