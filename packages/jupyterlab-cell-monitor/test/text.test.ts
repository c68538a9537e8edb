import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  capBytes,
  capChars,
  storableText,
  utf8Length,
  withoutEscapes
} from '../src/events/text';

const anyText = fc.string({ unit: 'binary' });
const wellFormed = (text: string): boolean => !/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(text);

test('a cap never splits a character and never cuts more than necessary', () => {
  fc.assert(
    fc.property(anyText, fc.nat(40), (text, max) => {
      const capped = capBytes(text, max);
      assert.ok(text.startsWith(capped.text));
      assert.ok(Buffer.byteLength(capped.text) <= max || capped.text === '');
      assert.equal(capped.truncated, capped.text !== text);
      assert.ok(wellFormed(capped.text));
      if (capped.truncated) {
        const next = String.fromCodePoint(text.codePointAt(capped.text.length) as number);
        assert.ok(Buffer.byteLength(capped.text + next) > max);
      }
    })
  );
});

test('bytes are counted as the server counts them', () => {
  fc.assert(fc.property(anyText, text => assert.equal(utf8Length(text), Buffer.byteLength(text))));
});

test('storable text has no lone surrogates and no NUL, and is otherwise unchanged', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 0xffff })), units => {
      const text = storableText(String.fromCharCode(...units));
      assert.ok(wellFormed(text));
      assert.ok(!text.includes('\0'));
      assert.equal(text.length, units.length);
      assert.equal(JSON.parse(JSON.stringify(text)), text);
    })
  );
  assert.equal(storableText('a😀b'), 'a😀b');
});

test('a title is cut at whole characters', () => {
  assert.equal(capChars('ab😀', 3), 'ab');
  assert.equal(capChars('ab😀', 4), 'ab😀');
});

test('colours and links are removed from a traceback, its text is kept', () => {
  assert.equal(withoutEscapes('\u001b[0;31mZeroDivisionError\u001b[0m: x'), 'ZeroDivisionError: x');
  assert.equal(withoutEscapes('\u001b]8;;http://x\u0007link\u001b]8;;\u0007'), 'link');
});
