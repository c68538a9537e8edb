// Hazard: what the server cannot use is named by a pattern and a code, in English, so that nobody knows what to correct.
import { describe, expect, it } from 'vitest'

import { ApiError } from '../api/client'
import { createI18n } from '../i18n'
import { explain } from './ErrorNotice'

const english = createI18n('en').t
const japanese = createI18n('ja').t

const refused = (type: string, msg: string, ...locs: (string | number)[][]) =>
  new ApiError(422, type, msg, null, locs.map((loc) => ({ type, msg, loc })))

const pattern = "String should match pattern '^[a-z0-9][a-z0-9_-]{0,62}$'"

describe('a request that the server cannot use', () => {
  it('names the fields in the words of the page, without pattern and code', () => {
    const error = refused('string_pattern_mismatch', pattern, ['query', 'course'], ['body', 'members', 3, 'username'])
    expect(explain(error, english)).toBe('This cannot be used as it was entered: Course (id), User name. Correct it and try again.')
    expect(explain(error, japanese)).toBe('入力した値が使えません：授業(ID)、ユーザー名。修正してからもう一度実行してください。')
  })

  it('says as much where it names no field of a form', () => {
    const said = explain(refused('json_invalid', 'JSON decode error', ['body', 7]), japanese)
    expect(said).toBe('入力した内容に使えない値があります。修正してからもう一度実行してください。')
    expect(explain(new ApiError(422, 'missing', 'Field required'), english)).toContain('Something that was entered')
  })

  it('keeps the sentence of a service, which says what to do, and the field that it is about', () => {
    const error = refused('invalid_parameter', 'link them as staff', ['body', 'role'])
    expect(explain(error, english)).toBe('Role: link them as staff')
  })
})
