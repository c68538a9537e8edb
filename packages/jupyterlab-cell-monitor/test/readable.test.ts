import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isolated, readable } from '../src/events/readable';

test('a name that nobody can see is no name', () => {
  for (const name of ['', '   ', '\u200B\u200D', '\u2800\u2800', '\u3164', '\u115F\u1160', '\u202E', '\u{E0041}', '\u0301\u0302', '\uFEFF']) {
    assert.equal(readable(name, 60), '', JSON.stringify(name));
  }
});

test('a name cannot turn the text after it around or leave its line', () => {
  assert.equal(readable('Anna\u202Enaloc', 60), 'Annanaloc');
  assert.equal(readable('A\u2066\u2067\u2068\u2069\u200E\u200F\u061CB', 60), 'AB');
  assert.equal(readable('  first\n\r\tsecond\u2028third ', 60), 'first second third');
  assert.equal(readable(`Z${'\u0336'.repeat(500)}`, 60), `Z${'\u0336'.repeat(4)}`);
});

test('names of all scripts are unchanged', () => {
  for (const name of ['山田 太郎', 'عبد الله', 'می‌خواهم', 'Åsa Öberg', '김철수', 'O’Neil', 'Nguyễn', '👩‍💻 Ada', 'क्षि']) {
    assert.equal(readable(name, 60), name);
  }
});

test('a long name is cut and marked, never within a character', () => {
  assert.equal(readable('x'.repeat(61), 60), `${'x'.repeat(60)}…`);
  assert.equal(readable('😀'.repeat(100), 5), '😀😀…');
});

test('a character that is not seen between two spaces leaves one space', () => {
  assert.equal(readable('a \u0000 b\t\u200b\tc', 40), 'a b c');
});

test('whatever a text holds, what is shown is one bounded line without direction marks', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), text => {
      const shown = readable(text, 40);
      assert.ok(shown.length <= 41);
      // eslint-disable-next-line no-control-regex
      assert.doesNotMatch(shown, /[\u0000-\u001F\u007F-\u009F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]/u);
      assert.equal(readable(shown, 41), shown);
    })
  );
});

test('an isolated text is between the marks that isolate it', () => {
  assert.equal(isolated('عبد'), '\u2068عبد\u2069');
});
