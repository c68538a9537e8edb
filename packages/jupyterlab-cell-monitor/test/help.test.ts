import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { TranslationBundle } from '@jupyterlab/translation';
import { KeptRequest } from '../src/help/kept';
import { END_SHOWN_MS, HelpModel } from '../src/help/model';
import { helpLabel, helpSentence, helpWarning } from '../src/help/wording';
import { ShownRequests } from '../src/help/shown';
import type { HelpPhase, ICellMonitor } from '../src/tokens';
import type { INotice } from '../src/transport/transport';
import { StillClock } from './clock';
import { MapStorage } from './map_storage';

let clock: StillClock;
let asked: string[];
let cancelled: string[];
let polls: number;
let phases: HelpPhase[];
let model: HelpModel;
let shown: Set<string>;
let visible: boolean;
let refused: boolean;
let waiting: boolean;
let notTakenBack: number;
let storage: MapStorage;
/** What the last request that was taken back is said to belong to. */
let belonged: INotice | null;

const kept = () => new KeptRequest(storage, 'kept', () => clock.now());

/** Another page of this browser, which knows what was shown. */
function newModel(): HelpModel {
  const made = new HelpModel(
    {
      request: message => {
        asked.push(message);
        return `r${asked.length}`;
      },
      cancel: (id, belongs) => {
        cancelled.push(id);
        belonged = belongs;
        return `c-${id}`;
      },
      waiting: () => waiting,
      poll: () => polls++,
      refused: () => refused,
      visible: () => visible
    },
    clock,
    shown,
    kept()
  );
  made.onChange = state => phases.push(state.phase);
  made.onNotTakenBack = () => notTakenBack++;
  return made;
}

beforeEach(() => {
  clock = new StillClock();
  asked = [];
  cancelled = [];
  polls = 0;
  phases = [];
  shown = new Set();
  visible = true;
  refused = false;
  waiting = false;
  notTakenBack = 0;
  storage = new MapStorage();
  belonged = null;
  model = newModel();
});

const notice = (status: string, id = 'r1', by: string | null = null) => ({ kind: 'help', request_id: id, status, by });

test('a request goes from sending to claimed and resolved, and polls only meanwhile', () => {
  assert.equal(model.request('  why?  '), true);
  assert.deepEqual(asked, ['why?']);
  assert.equal(model.request('again'), false, 'one at a time');
  clock.advance(999);
  assert.equal(polls, 1, 'its receipt is shown within a second');
  clock.advance(9_001);
  assert.equal(polls, 4);
  model.notices([notice('open')], true);
  model.notices([notice('claimed', 'r1', 'Prof. X')], true);
  assert.equal(model.state.by, 'Prof. X');
  model.notices([notice('resolved', 'r1', 'Prof. X')], true);
  assert.deepEqual(model.state, { phase: 'resolved', requestId: 'r1', by: 'Prof. X' });
  clock.advance(END_SHOWN_MS);
  assert.deepEqual(phases, ['sending', 'open', 'claimed', 'resolved', 'none']);
  polls = 0;
  clock.advance(60_000);
  assert.equal(polls, 0);
  // The monitor lists it for ten more minutes; it is not reopened.
  model.notices([notice('resolved')], true);
  assert.equal(model.state.phase, 'none');
});

test('a released request is open again', () => {
  model.request('');
  model.notices([notice('claimed', 'r1', 'A')], true);
  model.notices([notice('open')], true);
  assert.deepEqual(model.state, { phase: 'open', requestId: 'r1', by: null });
});

test('the newest request made before a reload is restored, by its receipt and not by the time in its id', () => {
  // The monitor lists the newest first. The clock was ahead when r9 was made.
  model.notices([notice('resolved', 'r8'), notice('claimed', 'r7', 'B'), notice('open', 'r9')], true);
  assert.deepEqual(model.state, { phase: 'claimed', requestId: 'r7', by: 'B' });
});

test('a cancelled request stays cancelled although the monitor still lists it', () => {
  model.request('');
  model.notices([notice('open')], true);
  model.cancel();
  assert.deepEqual(cancelled, ['r1']);
  model.notices([notice('open')], true);
  assert.equal(model.state.phase, 'cancelling', 'the monitor has not confirmed it');
  assert.equal(model.request('another'), true);
  assert.equal(model.state.phase, 'sending');
});

test('a cancellation that waits is not shown as done, and is done when the monitor reports it', () => {
  model.request('');
  model.notices([notice('open')], true);
  model.cancel();
  waiting = true;
  clock.advance(3_600_000);
  model.notices([], false); // the Jupyter server keeps it
  model.notices([], true); // an answer from before it was sent
  assert.equal(model.state.phase, 'cancelling');
  waiting = false;
  polls = 0;
  clock.advance(3_000);
  assert.equal(polls, 1, 'its end is asked for');
  model.notices([notice('cancelled')], true);
  assert.equal(model.state.phase, 'none');
  assert.equal(notTakenBack, 0);
});

test('a cancellation that the monitor refuses does not look done: the request is shown as before, and it is said', () => {
  model.notices([notice('claimed', 'r1', 'A')], true);
  model.cancel();
  assert.equal(model.rejected(['c-r1']), false, 'it is not the request that was refused');
  assert.deepEqual(model.state, { phase: 'claimed', requestId: 'r1', by: 'A' });
  assert.equal(notTakenBack, 1);
  model.cancel();
  assert.deepEqual(cancelled, ['r1', 'r1'], 'it can be tried again');
  model.notices([notice('cancelled')], true);
  assert.equal(model.state.phase, 'none');
  assert.equal(notTakenBack, 1);
});

test('a cancellation that was refused after the Jupyter server had taken it does not look done permanently', () => {
  model.request('');
  model.notices([notice('open')], true);
  model.cancel();
  model.notices([notice('open')], true);
  clock.advance(30_000);
  model.notices([notice('open')], true);
  assert.equal(notTakenBack, 0, 'the monitor may need a moment');
  clock.advance(31_000);
  model.notices([notice('open')], true);
  assert.equal(model.state.phase, 'open');
  assert.equal(notTakenBack, 1);
});

test('a cancellation that cannot be made is not shown as done', () => {
  const made = new HelpModel(
    {
      request: () => 'r1',
      cancel: () => null,
      poll: () => undefined,
      waiting: () => false,
      refused: () => false,
      visible: () => true
    },
    clock,
    shown,
    kept()
  );
  made.onNotTakenBack = () => notTakenBack++;
  made.notices([notice('open')], true);
  made.cancel();
  assert.equal(made.state.phase, 'open');
  assert.equal(notTakenBack, 1);
});

/** The page is gone, and another one of the same browser follows it. */
function reload(): void {
  model.dispose();
  model = newModel();
}

const WEEK_1 = { id: 'n1', path: 'week1.ipynb' };

test('a page that is reloaded while the monitor cannot be reached shows the request that waits', () => {
  model.request('');
  kept().belong('r1', 'programming-1', WEEK_1);
  reload();
  assert.deepEqual(model.state, { phase: 'sending', requestId: 'r1', by: null });
  assert.equal(model.request('again'), false, 'one at a time');
  model.notices([], false);
  clock.advance(3_600_000);
  model.notices([], false);
  assert.equal(model.state.phase, 'sending');
  polls = 0;
  clock.advance(9_000);
  assert.equal(polls, 3, 'what the monitor says is asked for');
  model.notices([notice('open')], true);
  reload();
  assert.equal(model.state.phase, 'open');
  model.cancel();
  assert.equal(belonged?.course, 'programming-1');
  assert.deepEqual(belonged?.notebook, WEEK_1);
  reload();
  assert.equal(model.state.phase, 'cancelling', 'the cancellation waits, too');
  model.notices([notice('cancelled')], true);
  assert.equal(newModel().state.phase, 'none');
});

test('what a request belongs to is known after a reload also where another browser made it', () => {
  model.notices([{ ...notice('open'), course: 'programming-1', notebook: { ...WEEK_1, title: null } }], true);
  reload();
  model.cancel();
  assert.equal(belonged?.course, 'programming-1');
  assert.deepEqual(belonged?.notebook, WEEK_1);
});

test('a request that ended while no page was open is not shown as waiting once the monitor has answered', () => {
  model.request('');
  model.notices([notice('open')], true);
  reload();
  model.notices([], true);
  assert.equal(model.state.phase, 'none');
  model.request('');
  model.notices([notice('claimed', 'r2', 'A')], true);
  reload();
  assert.equal(model.state.by, 'A');
  model.notices([notice('resolved', 'r2', 'A')], true);
  assert.equal(model.state.phase, 'resolved', 'its end is shown');
  assert.equal(newModel().state.phase, 'none', 'once');
});

test('a request that was lost before the monitor had it is not shown as sent permanently after a reload', () => {
  model.request('');
  reload();
  waiting = true;
  model.notices([], true);
  clock.advance(3_600_000);
  model.notices([], true);
  assert.equal(model.state.phase, 'sending', 'it waits in this browser');
  waiting = false;
  model.notices([], true);
  clock.advance(30_000);
  model.notices([], true);
  assert.equal(model.state.phase, 'sending', 'the monitor may need a moment');
  clock.advance(31_000);
  model.notices([], true);
  assert.equal(model.state.phase, 'none');
});

test('a refusal of a cancellation from before a reload does not make it look done', () => {
  model.request('');
  model.notices([notice('open')], true);
  model.cancel();
  reload();
  model.rejected(['c-r1']);
  assert.equal(model.state.phase, 'open');
  assert.equal(notTakenBack, 1);
});

test('a storage that is full, forbidden, old or damaged shows no request that is not there', () => {
  model.request('');
  clock.advance(13 * 3_600_000);
  assert.equal(newModel().state.phase, 'none', 'of another day');
  for (const text of ['', '{', '[]', '7', '{"requestId":7}', '{"requestId":"r1","phase":"resolved","by":null}']) {
    storage.setItem('kept', text);
    assert.equal(newModel().state.phase, 'none');
  }
  storage.setItem('kept', `{"requestId":"r1","phase":"open","by":null,"cancellation":null,"belongs":{},"at":${clock.now()}}`);
  assert.equal(newModel().state.phase, 'none');
  storage.refuses = true;
  reload();
  assert.equal(model.request(''), true);
  assert.equal(model.state.phase, 'sending');
});

test('who takes back a request that was refused itself gets no message: nobody sees it', () => {
  model.request('');
  model.cancel();
  assert.equal(model.rejected(['r1', 'c-r1']), false);
  assert.equal(model.state.phase, 'none');
  assert.equal(notTakenBack, 0);
});

test('a request that was refused after the Jupyter server had taken it is not on its way without end', () => {
  model.request('');
  refused = true;
  assert.equal(model.notices([], true), false, 'the monitor may need a moment');
  clock.advance(61_000);
  assert.equal(model.notices([], true), true);
  assert.equal(model.state.phase, 'none');
});

test('a request is kept while the monitor is unavailable', () => {
  model.request('');
  clock.advance(3_600_000);
  model.notices([], false);
  model.notices([], true); // these notices are older than the request
  assert.equal(model.state.phase, 'sending');
});

test('a request that instructors do not see, because its student was taken off the roster, does not look as if they did', () => {
  model.request('');
  model.notices([notice('open')], true);
  refused = true;
  assert.equal(model.notices([notice('open')], true), false, 'it is listed: they see it');
  assert.equal(model.notices([], false), false, 'the list is not known');
  assert.equal(model.state.phase, 'open');
  assert.equal(model.notices([], true), true);
  assert.equal(model.state.phase, 'none');
  assert.equal(model.notices([], true), false, 'said once');
  // On the roster again.
  refused = false;
  model.notices([notice('open')], true);
  assert.equal(model.state.phase, 'open');
});

test('a request that the monitor no longer lists ends after a while', () => {
  model.request('');
  model.notices([notice('open')], true);
  clock.advance(30_000);
  model.notices([], true);
  assert.equal(model.state.phase, 'open');
  clock.advance(31_000);
  model.notices([], true);
  assert.equal(model.state.phase, 'none');
});

test('a rejected request is reported and can be repeated', () => {
  model.request('');
  assert.equal(model.rejected(['x']), false);
  assert.equal(model.rejected(['x', 'r1']), true);
  assert.equal(model.state.phase, 'none');
  assert.equal(model.request(''), true);
});

test('a resolved request is shown until a visible page has shown it, and never again', () => {
  model.request('');
  model.notices([notice('open')], true);
  visible = false;
  model.notices([notice('resolved', 'r1', 'A')], true);
  clock.advance(10 * END_SHOWN_MS);
  assert.equal(model.state.phase, 'resolved', 'the student has not seen it');
  visible = true;
  clock.advance(END_SHOWN_MS);
  assert.equal(model.state.phase, 'none');
  const afterReload = newModel();
  afterReload.notices([notice('resolved', 'r1', 'A')], true);
  assert.equal(afterReload.state.phase, 'none');
});

test('a request that ended while no page was open is shown once on return', () => {
  phases = [];
  model.notices([notice('expired', 'r5'), notice('cancelled', 'r4'), notice('resolved', 'r3', 'B')], true);
  assert.deepEqual(model.state, { phase: 'expired', requestId: 'r5', by: null }, 'the newest');
  const afterReload = newModel();
  afterReload.notices([notice('expired', 'r5'), notice('resolved', 'r3', 'B')], true);
  assert.equal(afterReload.state.phase, 'none');
});

test('who cancels a request does not read that an earlier one was resolved', () => {
  model.request('');
  model.notices([notice('open'), notice('resolved', 'r0', 'B')], true);
  model.cancel();
  for (const [status, phase] of [
    ['open', 'cancelling'],
    ['cancelled', 'none']
  ] as const) {
    model.notices([notice(status), notice('resolved', 'r0', 'B')], true);
    assert.equal(model.state.phase, phase, status);
  }
  const afterReload = newModel();
  afterReload.notices([notice('resolved', 'r0', 'B')], true);
  assert.equal(afterReload.state.phase, 'none', 'nor later, once the cancelled one is no notice any more');
});

test('help can be asked for again while the end of a request is shown', () => {
  model.request('');
  model.notices([notice('resolved')], true);
  assert.equal(model.request('still'), true);
  assert.equal(model.state.phase, 'sending');
  clock.advance(10 * END_SHOWN_MS);
  assert.equal(model.state.phase, 'sending', 'the end of the first does not end the second');
});

test('an end that is shown is no request that can be cancelled or rejected', () => {
  model.request('');
  model.notices([notice('resolved')], true);
  model.cancel();
  assert.deepEqual(cancelled, []);
  assert.equal(model.rejected(['r1']), false);
  assert.equal(model.state.phase, 'resolved');
});

test('what was shown is remembered, bounded, and not guessed without a storage', () => {
  const values = new Map<string, string>();
  const storage = {
    getItem: (key: string) => values.get(key) ?? null,
    setItem: (key: string, value: string) => void values.set(key, value)
  };
  const requests = new ShownRequests(storage, 'k');
  for (let n = 0; n < 1000; n++) {
    requests.add(`r${n}`);
  }
  assert.equal(new ShownRequests(storage, 'k').has('r999'), true);
  assert.equal(requests.has('r0'), false);
  assert.ok((values.get('k') as string).length < 500);
  values.set('k', '{not json');
  assert.equal(requests.has('new'), true);
  // In a private window an old end would otherwise be shown at each reload.
  assert.equal(new ShownRequests(null, 'k').has('new'), true);
});

test('where waiting does not help, neither the dialog nor the button promises that a request goes out', () => {
  const trans = { __: (text: string) => text } as unknown as TranslationBundle;
  const monitor = (state: string, problem: string | null): ICellMonitor =>
    ({
      state,
      problem,
      waits: state === 'saved',
      help: { phase: 'sending', requestId: 'r', by: null }
    }) as unknown as ICellMonitor;
  for (const state of ['held', 'paused', 'refused']) {
    assert.match(helpWarning(monitor(state, 'api_key_refused'), trans) ?? '', /ask .* in person/);
    assert.match(helpSentence(monitor(state, 'api_key_refused'), trans), /ask your instructor in person/);
    assert.equal(helpLabel(monitor(state, 'api_key_refused'), trans), 'Help: not sent yet');
  }
  assert.equal(helpWarning(monitor('saved', null), trans), null);
  assert.match(helpSentence(monitor('saved', null), trans), /as soon as it can/);
});

test('what waits is said of asking and of taking back alike, also while recording is paused', () => {
  const trans = { __: (text: string) => text } as unknown as TranslationBundle;
  const monitor = (phase: HelpPhase, waits: boolean, problem: string | null = null): ICellMonitor =>
    ({ state: 'paused', problem, waits, help: { phase, requestId: 'r', by: null } }) as unknown as ICellMonitor;
  assert.equal(helpLabel(monitor('sending', true), trans), 'Help: not sent yet');
  assert.equal(helpLabel(monitor('cancelling', true), trans), 'Help: not taken back yet');
  assert.equal(helpLabel(monitor('cancelling', false), trans), 'Taking back…');
  assert.match(helpSentence(monitor('cancelling', true), trans), /cannot be reached.*instructors may see it/);
  assert.match(helpSentence(monitor('cancelling', true, 'signed_out'), trans), /tell your instructor in person/);
});
