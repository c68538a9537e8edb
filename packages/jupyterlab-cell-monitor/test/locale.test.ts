import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { translatedSchema } from '../src/settings/schema';

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
      assert.equal(forms.length, 1, 'Japanese has one plural form');
      assert.deepEqual(places(forms[0] as string), places(english));
      assert.match(forms[0] as string, /[ぁ-んァ-ヶ一-龠]/);
    }
  }
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
