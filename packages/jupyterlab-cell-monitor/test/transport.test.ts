import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HttpTransport, readAnswer, retryAfterMs } from '../src/transport/transport';

const body = (results: unknown[], notices: unknown[] = []): string => JSON.stringify({ results, notices });

test('an answer is accepted only when it has a result for each event', () => {
  const one = { event_id: 'a', status: 'accepted' };
  assert.equal(readAnswer(200, body([one]), 0, 1).kind, 'answer');
  assert.equal(readAnswer(200, body([]), 0, 1).kind, 'unavailable');
  assert.equal(readAnswer(200, body([{ status: 'lost' }]), 0, 1).kind, 'unavailable');
  assert.equal(readAnswer(200, '<html>sign in</html>', 0, 1).kind, 'unavailable');
  assert.equal(readAnswer(200, body([], [7, null, { kind: 'x' }]), 0, 0).kind, 'answer');
});

test('unknown notices are not an empty list of notices', () => {
  const read = (notices: unknown): unknown => {
    const answer = readAnswer(200, JSON.stringify({ results: [], notices }), 0, 0);
    return answer.kind === 'answer' ? answer.notices : answer;
  };
  assert.deepEqual(read([]), []);
  assert.equal(read(null), null);
  assert.equal(read(undefined), null);
  assert.equal(read('soon'), null);
});

test('what is refused is read with its bounds, and its absence means that nothing is', () => {
  const read = (refusals: unknown): unknown => {
    const answer = readAnswer(200, JSON.stringify({ results: [], notices: [], refusals }), 0, 0);
    return answer.kind === 'answer' ? answer.refusals : answer;
  };
  assert.deepEqual(read(undefined), []);
  assert.deepEqual(read('all'), []);
  assert.deepEqual(read([null, { reason: 'no_course', course: 7, events: '?', everything: 'yes' }]), [
    { reason: 'no_course', course: null, events: 1, everything: false }
  ]);
  const refusal = { reason: 'course_forbidden', course: 'x', events: 3, everything: true };
  assert.deepEqual(read([refusal]), [refusal]);
  assert.equal((read(Array.from({ length: 1000 }, () => refusal)) as unknown[]).length, 32);
});

test('each status has one meaning', () => {
  const detail = (type: string): string => JSON.stringify({ detail: [{ type, msg: '' }] });
  assert.deepEqual(readAnswer(404, '', 0, 1), { kind: 'missing' });
  assert.deepEqual(readAnswer(403, detail('course_forbidden'), 0, 1), { kind: 'denied', reason: 'course_forbidden' });
  assert.equal(readAnswer(400, detail('invalid_body'), 0, 1).kind, 'refused');
  assert.equal(readAnswer(413, detail('too_many_events'), 0, 1).kind, 'refused');
  assert.deepEqual(readAnswer(503, '', 2000, 1), { kind: 'unavailable', retryAfterMs: 2000, reason: 'HTTP 503' });
  // After an expired sign-in there is no request every second.
  const signedOut = readAnswer(403, '{"message": "Forbidden"}', 0, 1);
  assert.ok(signedOut.kind === 'unavailable' && signedOut.retryAfterMs >= 15_000);
});

test("an answer of a proxy's own refuses no events", () => {
  for (const status of [400, 401, 403, 408, 411, 413, 415, 422, 429, 431, 451, 500, 502]) {
    for (const body of ['', '<html>Request Entity Too Large</html>', '{"message": "no"}', '{"detail": "invalid_body"}']) {
      assert.equal(readAnswer(status, body, 0, 1).kind, 'unavailable', `${status} ${body}`);
    }
  }
  assert.deepEqual(readAnswer(413, '<html>', 0, 2), {
    kind: 'unavailable',
    retryAfterMs: 0,
    reason: 'HTTP 413',
    tooLarge: true
  });
});

test('a 404 means that there is no server half only until it has answered once', async () => {
  const answers = [
    [404, ''],
    [200, '{"results": [], "notices": []}'],
    [404, '']
  ] as const;
  let asked = 0;
  const transport = new HttpTransport(() => {
    const [status, body] = answers[asked++]!;
    return Promise.resolve(new Response(body, { status }));
  });
  const ask = async (): Promise<string> => (await transport.send('{"events":[]}', 0, false)).kind;
  assert.deepEqual([await ask(), await ask(), await ask()], ['missing', 'answer', 'unavailable']);
});

test('any answer is read without an exception', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 100, max: 599 }),
      fc.oneof(fc.string(), fc.json(), fc.constant('{"detail": [null]}'), fc.constant('{"results": [null]}')),
      fc.nat(3),
      (status, text, sent) => {
        assert.ok(['answer', 'unavailable', 'missing', 'refused', 'denied'].includes(readAnswer(status, text, 0, sent).kind));
      }
    )
  );
});

test('a batch is posted as it is, may outlive the page, and carries a trace context', async () => {
  const sent: RequestInit[] = [];
  const transport = new HttpTransport(init => {
    sent.push(init);
    return Promise.resolve(new Response(body([{ status: 'accepted' }])));
  });
  transport.traceAll = true;
  const result = await transport.send('{"events":[{}]}', 1, true);
  assert.equal(result.kind, 'answer');
  const headers = new Headers(sent[0]?.headers);
  assert.deepEqual([sent[0]?.method, sent[0]?.body, sent[0]?.keepalive], ['POST', '{"events":[{}]}', true]);
  assert.equal(headers.get('Content-Type'), 'application/json');
  assert.match(headers.get('traceparent') ?? '', /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
});

test('a failed request and a broken answer are results, not exceptions', async () => {
  const broken = new Response(new ReadableStream({ start: stream => stream.error(new TypeError('reset')) }));
  const slow = new Response('busy', { status: 503, headers: { 'Retry-After': '7' } });
  const answers = [Promise.reject(new TypeError('failed to fetch')), Promise.resolve(broken), Promise.resolve(slow)];
  const results = [];
  for (const answer of answers) {
    results.push(await new HttpTransport(() => answer).send('{"events":[]}', 0, false));
  }
  assert.deepEqual(results, [
    { kind: 'unavailable', retryAfterMs: 0, reason: 'TypeError' },
    { kind: 'unavailable', retryAfterMs: 0, reason: 'TypeError' },
    { kind: 'unavailable', retryAfterMs: 7000, reason: 'HTTP 503' }
  ]);
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
