import { readdirSync } from 'node:fs';
import js from '@eslint/js';
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';
import importX from 'eslint-plugin-import-x';
import jsxA11y from 'eslint-plugin-jsx-a11y';
import reactHooks from 'eslint-plugin-react-hooks';
import globals from 'globals';
import tseslint from 'typescript-eslint';

/**
 * The folders of `src` from the lowest to the highest: each imports those before it and none after it. Of the files
 * beside them `tokens.ts` and `version.ts` are below all folders, `monitor.ts` and `index.ts` above.
 */
const folders = ['runtime', 'settings', 'events', 'transport', 'queue', 'capture', 'help', 'status', 'join'];
const above = ['src/monitor.ts', 'src/index.ts'];

const unordered = readdirSync(new URL('src', import.meta.url), { withFileTypes: true })
  .filter(entry => entry.isDirectory() && !folders.includes(entry.name))
  .map(entry => entry.name);
if (unordered.length > 0) {
  throw new Error(`eslint.config.mjs does not say where in the order these are: ${unordered.join(', ')}`);
}

const order = `The order of folders is ${folders.join(' → ')}; see docs/dev/typescript.md.`;
const importZones = [
  ...folders.map((folder, index) => ({
    target: `src/${folder}`,
    from: [...folders.slice(index + 1).map(higher => `src/${higher}`), ...above],
    message: order
  })),
  { target: ['src/tokens.ts', 'src/version.ts'], from: 'src', message: order }
];

export default tseslint.config(
  { ignores: ['lib', 'build', 'node_modules', 'jupyterlab_cell_monitor', 'style', 'src/events/types.ts', '*.mjs', 'dist'] },
  js.configs.recommended,
  ...tseslint.configs.recommendedTypeChecked,
  jsxA11y.flatConfigs.strict,
  {
    files: ['**/*.{ts,tsx}'],
    plugins: { 'import-x': importX, 'react-hooks': reactHooks },
    settings: {
      ...importX.flatConfigs.typescript.settings,
      'import-x/resolver-next': [createTypeScriptImportResolver({ project: './tsconfig.test.json' })]
    },
    languageOptions: {
      globals: { ...globals.browser },
      parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      ...reactHooks.configs.recommended.rules,
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-namespace': 'off',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      '@typescript-eslint/naming-convention': [
        'error',
        { selector: 'interface', format: ['PascalCase'], custom: { regex: '^I[A-Z]', match: true } }
      ],
      // Lumino's connect(slot, this) binds.
      '@typescript-eslint/unbound-method': 'off',
      curly: ['error', 'all'],
      eqeqeq: 'error',
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones: importZones }],
      'no-console': 'error',
      'prefer-arrow-callback': 'error'
    }
  },
  {
    // node:test returns promises that its runner awaits; fakes stand in for whole interfaces.
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/require-await': 'off' }
  }
);
