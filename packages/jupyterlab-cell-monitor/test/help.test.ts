import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { HelpModel } from '../src/help/model';
import type { HelpPhase } from '../src/tokens';
import { StillClock } from './clock';

let clock: StillClock;
let asked: string[];
let cancelled: string[];
let polls: number;
let phases: HelpPhase[];
let model: HelpModel;

beforeEach(() => {
  clock = new StillClock();
  asked = [];
  cancelled = [];
  polls = 0;
  phases = [];
  model = new HelpModel(
    {
      request: message => {
        asked.push(message);
        return `r${asked.length}`;
      },
      cancel: id => cancelled.push(id),
      poll: () => polls++
    },
    clock
  );
  model.onChange = state => phases.push(state.phase);
});

const notice = (status: string, id = 'r1', by: string | null = null) => ({ kind: 'help', request_id: id, status, by });

test('a request goes from sending to claimed and resolved, and polls only meanwhile', () => {
  assert.equal(model.request('  why?  '), true);
  assert.deepEqual(asked, ['why?']);
  assert.equal(model.request('again'), false, 'one at a time');
  clock.advance(10_000);
  assert.equal(polls, 3);
  model.notices([notice('open')], true);
  model.notices([notice('claimed', 'r1', 'Prof. X')], true);
  assert.equal(model.state.by, 'Prof. X');
  model.notices([notice('resolved', 'r1', 'Prof. X')], true);
  assert.deepEqual(phases, ['sending', 'open', 'claimed', 'none']);
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

test('the newest request made before a reload is restored', () => {
  model.notices([notice('resolved', 'r8'), notice('open', 'r5'), notice('claimed', 'r7', 'B')], true);
  assert.deepEqual(model.state, { phase: 'claimed', requestId: 'r7', by: 'B' });
});

test('a cancelled request stays cancelled although the monitor still lists it', () => {
  model.request('');
  model.notices([notice('open')], true);
  model.cancel();
  assert.deepEqual(cancelled, ['r1']);
  model.notices([notice('open')], true);
  assert.equal(model.state.phase, 'none');
  assert.equal(model.request('another'), true);
});

test('a request is kept while the monitor is unavailable', () => {
  model.request('');
  clock.advance(3_600_000);
  model.notices([], false);
  model.notices([], true); // these notices are older than the request
  assert.equal(model.state.phase, 'sending');
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
