import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

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

test('every sentence that a student may read exists in Japanese, and no other', () => {
  const used = new Set<string>();
  for (const source of sources(join(root, 'src'))) {
    for (const match of source.matchAll(/trans\._(?:_|n)\(\s*'((?:[^'\\]|\\.)*)'/g)) {
      used.add((match[1] as string).replace(/\\'/g, "'"));
    }
  }
  assert.ok(used.size > 30);
  const translated = Object.keys(catalogue).filter(key => key !== '');
  assert.deepEqual([...used].sort(), translated.sort());
});

test('a translation keeps the places of its numbers and names', () => {
  for (const [english, forms] of Object.entries(catalogue)) {
    if (english) {
      const places = (text: string): string[] => [...text.matchAll(/%\d/g)].map(match => match[0]).sort();
      assert.equal(forms.length, 1, 'Japanese has one plural form');
      assert.deepEqual(places(forms[0] as string), places(english));
      assert.match(forms[0] as string, /[ぁ-んァ-ヶ一-龠]/);
    }
  }
});
