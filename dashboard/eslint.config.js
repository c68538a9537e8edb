import { readdirSync } from 'node:fs'

import js from '@eslint/js'
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript'
import i18next from 'eslint-plugin-i18next'
import importX from 'eslint-plugin-import-x'
import jsxA11y from 'eslint-plugin-jsx-a11y'
import reactHooks from 'eslint-plugin-react-hooks'
import globals from 'globals'
import tseslint from 'typescript-eslint'

/**
 * The folders of `src` from the lowest to the highest: each imports those before it and none after it. The folders in
 * `features` and in `pages` do not import one another either: what two of them need is in `course` or lower.
 */
const folders = ['styles', 'api', 'i18n', 'ui', 'live', 'course', 'features', 'pages', 'app', 'testing']
const ofSiblings = ['features', 'pages']

const within = (folder) =>
  readdirSync(new URL(folder, import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)

const unordered = within('src').filter((folder) => !folders.includes(folder))
if (unordered.length > 0) throw new Error(`eslint.config.js does not say where in the order these are: ${unordered.join(', ')}`)

const importZones = [
  ...folders.map((folder, index) => ({
    target: `src/${folder}`,
    from: [...folders.slice(index + 1).map((higher) => `src/${higher}`), 'src/main.tsx'],
    message: `The order of folders is ${folders.join(' → ')}; see docs/dev/typescript.md.`,
  })),
  ...ofSiblings.flatMap((parent) =>
    within(`src/${parent}`).map((folder) => ({
      target: `src/${parent}/${folder}`,
      from: `src/${parent}`,
      except: [folder],
      message: `What two folders of ${parent} need belongs into a lower one; see docs/dev/typescript.md.`,
    })),
  ),
]

/**
 * What people and students wrote passes through one of these before it is shown; see `src/i18n/foreign.ts`. The user name
 * and the display name are read in `course/names.ts` alone, which makes every name different from the others.
 */
const safe = 'foreign|foreignShort|foreignName|foreignError|foreignErrorName|foreignLines|foreignFile|visible|plainText|shownUsername'
const written = [
  '[property.name=/^(display_name|username|heading|traceback)$/]',
  '[object.property.name="error"][property.name=/^(name|value)$/]',
  '[object.name=/^(error|failed)$/][property.name="value"]',
  '[object.name="request"][property.name="message"]',
  '[object.name=/^(notebook|course)$/][property.name=/^(title|path)$/]',
  '[object.property.name=/^(notebook|course)$/][property.name=/^(title|path)$/]',
]
const foreignText = written.map((attributes) => ({
  selector: `MemberExpression${attributes}:not(CallExpression[callee.name=/^(${safe})$/] MemberExpression)`,
  message: 'A text that somebody else wrote is shown through foreign() and its kin, a person through PersonName.',
}))

export default tseslint.config(
  { ignores: ['dist', 'coverage', 'node_modules', 'src/api/openapi.ts'] },
  {
    files: ['src/**/*.{ts,tsx}', 'vite.config.ts'],
    plugins: { 'import-x': importX },
    settings: {
      ...importX.flatConfigs.typescript.settings,
      'import-x/resolver-next': [createTypeScriptImportResolver()],
    },
    extends: [js.configs.recommended, ...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      globals: globals.browser,
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones: importZones }],
      'no-console': 'error',
    },
  },
  {
    files: ['src/**/*.tsx', 'src/features/activity/colors.ts'],
    ignores: ['src/**/*.test.tsx', 'src/testing/**'],
    extends: [jsxA11y.flatConfigs.strict, i18next.configs['flat/recommended']],
    plugins: { 'react-hooks': reactHooks },
    rules: {
      ...reactHooks.configs.recommended.rules,
      'i18next/no-literal-string': [
        'error',
        { mode: 'jsx-only', 'jsx-attributes': { include: ['aria-label', 'alt', 'title', 'placeholder', 'label'] } },
      ],
    },
  },
  {
    files: ['src/**/*.test.{ts,tsx}', 'src/testing/**'],
    rules: {
      // A test stands beside what it tests and is imported by nothing.
      'import-x/no-restricted-paths': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['src/**/*.{ts,tsx}'],
    // Names are read here, texts are searched here, and a form has fields of these names; nothing of it is shown from here.
    ignores: ['src/**/*.test.{ts,tsx}', 'src/testing/**', 'src/course/names.ts', 'src/course/arrangement.ts', 'src/features/members/list.ts', 'src/live/**', 'src/pages/sign-in/**'],
    rules: { 'no-restricted-syntax': ['error', ...foreignText] },
  },
  {
    files: ['dev/**/*.mjs', 'eslint.config.js'],
    extends: [js.configs.recommended],
    languageOptions: { globals: { ...globals.node, ...globals.browser } },
  },
)
