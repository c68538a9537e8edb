import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readAnswer, retryAfterMs } from '../src/transport/answer';

const body = (results: unknown[], notices: unknown[] = []): string => JSON.stringify({ results, notices });

test('an answer is believed only when it has a result for each event', () => {
  const one = { event_id: 'a', status: 'accepted' };
  assert.equal(readAnswer(200, body([one]), 0, 1).kind, 'answer');
  assert.equal(readAnswer(200, body([]), 0, 1).kind, 'away');
  assert.equal(readAnswer(200, body([{ status: 'lost' }]), 0, 1).kind, 'away');
  assert.equal(readAnswer(200, '<html>sign in</html>', 0, 1).kind, 'away');
  assert.equal(readAnswer(200, body([], [7, null, { kind: 'x' }]), 0, 0).kind, 'answer');
});

test('notices that the monitor cannot read now are not taken for none', () => {
  const told = (notices: unknown): unknown => {
    const answer = readAnswer(200, JSON.stringify({ results: [], notices }), 0, 0);
    return answer.kind === 'answer' ? answer.notices : answer;
  };
  assert.deepEqual(told([]), []);
  assert.equal(told(null), null);
  assert.equal(told(undefined), null);
  assert.equal(told('soon'), null);
});

test('each status means one thing', () => {
  const detail = (type: string): string => JSON.stringify({ detail: [{ type, msg: '' }] });
  assert.deepEqual(readAnswer(404, '', 0, 1), { kind: 'missing' });
  assert.deepEqual(readAnswer(403, detail('course_forbidden'), 0, 1), { kind: 'denied', reason: 'course_forbidden' });
  assert.equal(readAnswer(400, detail('invalid_body'), 0, 1).kind, 'refused');
  assert.equal(readAnswer(413, '', 0, 1).kind, 'refused');
  assert.deepEqual(readAnswer(503, '', 2000, 1), { kind: 'away', retryAfterMs: 2000, reason: 'HTTP 503' });
  // A sign-in that ran out is no reason to ask every second.
  const signedOut = readAnswer(403, '{"message": "Forbidden"}', 0, 1);
  assert.ok(signedOut.kind === 'away' && signedOut.retryAfterMs >= 15_000);
});

test('whatever a server says, it is read without an exception', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 100, max: 599 }),
      fc.oneof(fc.string(), fc.json(), fc.constant('{"detail": [null]}'), fc.constant('{"results": [null]}')),
      fc.nat(3),
      (status, text, sent) => {
        assert.ok(['answer', 'away', 'missing', 'refused', 'denied'].includes(readAnswer(status, text, 0, sent).kind));
      }
    )
  );
});

test('Retry-After is read in both of its forms and never beyond ten minutes', () => {
  const now = Date.UTC(2026, 3, 1);
  assert.equal(retryAfterMs('3', now), 3000);
  assert.equal(retryAfterMs(new Date(now + 5000).toUTCString(), now), 5000);
  assert.equal(retryAfterMs('99999999', now), 600_000);
  assert.equal(retryAfterMs('-5', now), 0);
  assert.equal(retryAfterMs('soon', now), 0);
  assert.equal(retryAfterMs(null, now), 0);
});
