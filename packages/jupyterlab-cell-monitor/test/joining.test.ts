import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { TranslationBundle } from '@jupyterlab/translation';
import { joinedSentence, joinFault } from '../src/join/wording';
import { JoinedName, keepJoinedName } from '../src/status/joined_name';
import { statusText } from '../src/status/wording';
import { isSwitchedOff } from '../src/tokens';
import type { ICellMonitor } from '../src/tokens';
import { HttpJoining } from '../src/transport/joining';
import type { IJoinState } from '../src/transport/joining';

const FORM = { address: 'http://192.168.7.5:8900', code: 'K7F2-2M9Q-X4DT', name: 'Hanako' };
const trans = {
  __: (text: string, ...values: string[]) =>
    values.reduce((filled, value, index) => filled.replace(`%${index + 1}`, value), text),
  _n: (one: string, many: string, count: number) => (count === 1 ? one : many).replace('%1', String(count))
} as unknown as TranslationBundle;

function answering(status: number, body: string, headers: Record<string, string> = {}): HttpJoining {
  return new HttpJoining(async () => new Response(body, { status, headers }));
}

test('what the student entered is sent, and what the server half answers is read', async () => {
  const sent: RequestInit[] = [];
  const joining = new HttpJoining(async init => {
    sent.push(init);
    return new Response(
      '{"joined": true, "name": "Hanako", "title": "Algebra", "address": "http://a", "address_is_fixed": true}'
    );
  });
  assert.deepEqual(await joining.join(FORM), {
    kind: 'joined',
    state: { joined: true, name: 'Hanako', title: 'Algebra', address: 'http://a', addressIsFixed: true, nameKept: false }
  });
  assert.equal(sent[0]?.method, 'POST');
  assert.deepEqual(JSON.parse(sent[0]?.body as string), FORM);
});

test('a name that was kept is named after joining, and the status bar shows the name on the roster', async () => {
  const result = await answering(
    200,
    '{"joined": true, "name": "Hana", "title": "Algebra", "address": "http://a", "name_kept": true}'
  ).join(FORM);
  assert.ok(result.kind === 'joined' && result.state.nameKept);
  const sentence = joinedSentence(result.state, trans);
  assert.match(sentence, /Algebra.*Hana.*kept/u);
  assert.doesNotMatch(joinedSentence({ ...result.state, nameKept: false }, trans), /kept/u);
  const monitor = (state: string): ICellMonitor => ({ state, problem: null, refusals: [] }) as unknown as ICellMonitor;
  const shown = statusText(monitor('recording'), result.state.name, trans);
  assert.match(shown.label, /^Monitor: recording · .?Hana.?$/u);
  assert.match(shown.title, /see you as .?Hana.?\.$/u);
  // Without a class there is no name, also where one was joined before.
  assert.equal(statusText(monitor('unjoined'), 'Hana', trans).label, 'Monitor: join a class');
  assert.equal(statusText(monitor('recording'), '', trans).label, 'Monitor: recording');
});

test('whatever is answered, the student reads a sentence', async () => {
  const fault = (type: string): string => JSON.stringify({ detail: [{ type, msg: '<b>' }] });
  const answers: [number, string][] = [
    [422, fault('invalid_join_code')],
    [422, fault('invalid_name')],
    [422, fault('invalid_address')],
    [409, fault('course_full')],
    [502, fault('monitor_unreachable')],
    [502, fault('not_a_monitor')],
    [503, fault('storage_unavailable')],
    [500, 'Internal Server Error'],
    [200, '{"joined": "yes"}'],
    [200, '[]'],
    [403, '{"detail": [7]}'],
    [418, fault('a_code_of_a_newer_release')]
  ];
  const sentences = new Set<string>();
  for (const [status, body] of answers) {
    const result = await answering(status, body).join(FORM);
    assert.equal(result.kind, 'refused');
    const sentence = result.kind === 'refused' ? joinFault(result, trans) : '';
    assert.match(sentence, /^[A-Z].*\.$/);
    sentences.add(sentence);
  }
  assert.equal(sentences.size, 8);
});

test('a wait is named in seconds', async () => {
  const body = JSON.stringify({ detail: [{ type: 'rate_limited', msg: '' }] });
  const result = await answering(429, body, { 'Retry-After': '90' }).join(FORM);
  assert.ok(result.kind === 'refused');
  assert.match(joinFault(result, trans), /90 seconds/);
});

test('a server half that does not answer is no error of the page', async () => {
  const joining = new HttpJoining(async () => {
    throw new TypeError('Failed to fetch');
  });
  assert.equal(await joining.state(), null);
  const result = await joining.join(FORM);
  assert.ok(result.kind === 'refused' && result.reason === 'unreachable');
  assert.equal(await answering(404, '{}').state(), null);
});

test('a student who joined no class is not recorded', () => {
  assert.deepEqual((['unjoined', 'off', 'misconfigured'] as const).map(isSwitchedOff), [true, true, true]);
  assert.deepEqual((['recording', 'saved', 'held', 'paused'] as const).map(isSwitchedOff), [false, false, false, false]);
});

test('a name that the staff changed is shown a minute later, and no name is lost while nobody answers', async () => {
  mock.timers.enable({ apis: ['setInterval'] });
  try {
    let answer: IJoinState | null = null;
    const said = (name: string): IJoinState => ({
      joined: true, name, title: 'Algebra', address: '', addressIsFixed: false, nameKept: false
    });
    const joinedName = new JoinedName();
    const shown: string[] = [];
    joinedName.changed.connect(() => shown.push(joinedName.value));
    const next = async (state: IJoinState | null): Promise<void> => {
      answer = state;
      mock.timers.tick(60_000);
      await new Promise(resolve => setImmediate(resolve));
    };
    answer = said('Hanako');
    keepJoinedName({ state: () => Promise.resolve(answer) }, joinedName);
    await new Promise(resolve => setImmediate(resolve));
    await next(null);
    await next(said('Hanako'));
    await next(said('Hanako Yamada'));
    assert.deepEqual(shown, ['Hanako', 'Hanako Yamada']);
  } finally {
    mock.timers.reset();
  }
});

test('a name of a joining that was quicker than the answer before it stays', async () => {
  mock.timers.enable({ apis: ['setInterval'] });
  try {
    const joinedName = new JoinedName();
    let give: (state: IJoinState | null) => void = () => undefined;
    keepJoinedName({ state: () => new Promise(resolve => (give = resolve)) }, joinedName);
    joinedName.value = 'Hanako';
    give({ joined: false, name: '', title: '', address: '', addressIsFixed: false, nameKept: false });
    await new Promise(resolve => setImmediate(resolve));
    assert.equal(joinedName.value, 'Hanako');
  } finally {
    mock.timers.reset();
  }
});
