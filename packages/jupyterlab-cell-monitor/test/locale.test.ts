import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { TranslationBundle } from '@jupyterlab/translation';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';
import { translatedSchema } from '../src/settings/schema';
import { notificationText } from '../src/status/wording';

const root = join(__dirname, '../../..');
const catalogue = JSON.parse(
  readFileSync(join(root, 'jupyterlab_cell_monitor/locale/ja_JP/LC_MESSAGES/jupyterlab_cell_monitor.json'), 'utf8')
) as Record<string, string[]>;

function sources(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap(entry => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? sources(path) : [readFileSync(path, 'utf8')];
  });
}

const schema = JSON.parse(readFileSync(join(root, 'schema/plugin.json'), 'utf8')) as ISettingRegistry.ISchema;

test('every sentence that a student may read exists in Japanese, and no other', () => {
  const used = new Set<string>();
  for (const part of [schema, ...Object.values(schema.properties ?? {})]) {
    for (const text of [part.title, part.description]) {
      assert.ok(text);
      used.add(text);
    }
  }
  for (const source of sources(join(root, 'src'))) {
    for (const match of source.matchAll(/trans\._(?:_|n)\(\s*'((?:[^'\\]|\\.)*)'/g)) {
      used.add((match[1] as string).replace(/\\'/g, "'"));
    }
  }
  assert.ok(used.size > 30);
  const translated = Object.keys(catalogue).filter(key => key !== '');
  assert.deepEqual([...used].sort(), translated.sort());
});

test('the catalogue names its language as JupyterLab looks it up', () => {
  // With an underscore the file is loaded, and none of it is shown.
  assert.equal((catalogue[''] as unknown as Record<string, string>)['language'], 'ja-JP');
});

test('a translation has the placeholders of its original', () => {
  for (const [english, forms] of Object.entries(catalogue)) {
    if (english) {
      const places = (text: string): string[] => [...text.matchAll(/%\d/g)].map(match => match[0]).sort();
      for (const form of forms) {
        assert.deepEqual(places(form), places(english));
        assert.match(form, /[ぁ-んァ-ヶ一-龠]/);
      }
    }
  }
});

interface IBundle {
  loadJSON(catalogue: object, domain: string): void;
  __(text: string, ...values: unknown[]): string;
  _n(text: string, plural: string, count: number): string;
}

/** JupyterLab's own look-up: its module is an ES module that Node cannot load as it is. */
function jupyterLabBundle(): IBundle {
  const load = (name: string): Record<string, unknown> => {
    const source = readFileSync(join(root, `node_modules/@jupyterlab/translation/lib/${name}.js`), 'utf8');
    const compiled = transpileModule(source, {
      compilerOptions: { module: ModuleKind.CommonJS, target: ScriptTarget.ES2020 }
    });
    const exports: Record<string, unknown> = {};
    runInNewContext(compiled.outputText, {
      exports,
      // Read for the page's language, which the options name here.
      document: { documentElement: { getAttribute: () => 'ja' } },
      require: (path: string) => (path === './utils' ? load('utils') : {})
    });
    return exports;
  };
  const Gettext = load('gettext')['Gettext'] as new (options: object) => IBundle;
  const bundle = new Gettext({ domain: 'jupyterlab_cell_monitor', locale: 'ja-JP' });
  // As JupyterLab's translation manager renames it.
  const header = { ...(catalogue[''] as unknown as Record<string, string>) };
  header['pluralForms'] = header['plural_forms'] as string;
  bundle.loadJSON({ ...catalogue, '': header }, 'jupyterlab_cell_monitor');
  return bundle;
}

test('JupyterLab finds every sentence with a count in Japanese, for each count', () => {
  const bundle = jupyterLabBundle();
  const plurals = sources(join(root, 'src')).flatMap(source => [
    ...source.matchAll(/trans\._n\(\s*'([^']*)',\s*'([^']*)'/g)
  ]);
  assert.ok(plurals.length >= 5);
  for (const [, singular, plural] of plurals) {
    for (const count of [0, 1, 2, 11]) {
      const shown = bundle._n(singular as string, plural as string, count);
      assert.match(shown, /[ぁ-んァ-ヶ一-龠]/);
      assert.match(shown, new RegExp(`(^|\\D)${count}(\\D|$)`));
    }
  }
  assert.equal(bundle._n('You added %1 cell', 'You added %1 cells', 3), 'セルを 3 個追加しました');
});

test('JupyterLab finds every sentence without a count in Japanese', () => {
  const bundle = jupyterLabBundle();
  for (const source of sources(join(root, 'src'))) {
    for (const [, text] of source.matchAll(/trans\.__\(\s*'([^'\\]*)'/g)) {
      assert.match(bundle.__(text as string, 1, 2), /[ぁ-んァ-ヶ一-龠]/);
    }
  }
});

test('in every Japanese sentence the cell is followed by a space', () => {
  const bundle = jupyterLabBundle();
  const cell = bundle.__('cell %1', 17);
  for (const [english, forms] of Object.entries(catalogue)) {
    if (/^You (started|ran|went to|edited) %1/.test(english)) {
      assert.match(bundle.__(english, cell, ''), /^セル 17 [ぁ-ん]/, forms[0]);
    }
  }
});

test('a notification has one mark after a state that is a question', () => {
  const trans = { __: (text: string, value: string) => text.replace('%1', value) } as unknown as TranslationBundle;
  assert.equal(notificationText('Not recorded: which course?', trans), 'Not recorded: which course? (the details say what to do)');
});

test('translating the settings changes titles and descriptions only, also a second time', () => {
  const trans = { __: (text: string) => catalogue[text]?.[0] ?? text };
  const before = JSON.stringify(schema);
  const translated = translatedSchema(schema, trans);
  assert.equal(translated.properties?.course?.title, '授業');
  assert.equal(translated.properties?.course?.maxLength, 63);
  assert.deepEqual(Object.keys(translated.properties ?? {}), Object.keys(schema.properties ?? {}));
  assert.deepEqual(translatedSchema(translated, trans), translated);
  assert.equal(JSON.stringify(schema), before);
  const bare = { type: 'object', properties: { plain: { type: 'string' } } } as unknown as ISettingRegistry.ISchema;
  assert.deepEqual(translatedSchema(bare, trans), bare);
});
