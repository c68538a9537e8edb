import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import openapi, { astToString, COMMENT_HEADER } from 'openapi-typescript'
import { expect, it } from 'vitest'

const description = resolve('../docs/dev/openapi.json')

it.skipIf(!existsSync(description))(
  'the generated types are those of the API’s description (if not: make generate)',
  async () => {
    const generated = COMMENT_HEADER + astToString(await openapi(pathToFileURL(description)))
    expect(readFileSync(resolve('src/api/openapi.ts'), 'utf8')).toBe(generated)
  },
  30_000,
)
