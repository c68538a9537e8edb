import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { IEncodedEvent, IEventOrigin, IEventSink } from '../src/events/session';
import { NotebookSession } from '../src/events/session';
import type { Event } from '../src/events/types';
import type { IHelpNotebook } from '../src/help/sender';
import { KeptRequest } from '../src/help/kept';
import { HelpSender } from '../src/help/sender';
import { StillClock } from './clock';
import { MapStorage } from './map_storage';

const clock = new StillClock();
let sent: Event[];
let current: OpenNotebook | null;
let open: OpenNotebook[];
let sender: HelpSender;
let kept: KeptRequest;

const sink: IEventSink = {
  push: (event: IEncodedEvent) => void sent.push(JSON.parse(event.json) as Event),
  moment: () => ({ page: 'p', monotonic: clock.monotonic(), wall: clock.now() })
};

/** A notebook that is open on the page. */
class OpenNotebook implements IHelpNotebook {
  constructor(
    readonly name: string,
    course: string | null,
    known = true
  ) {
    this.origin = { notebook: known ? this.names : null, course, identified: cell => cell };
    this.session = new NotebookSession(this.origin, clock, sink);
    this.session.begin();
  }

  get names() {
    return { id: `id-${this.name}`, path: `${this.name}.ipynb` };
  }

  get id(): string | null {
    return this.origin.notebook?.id ?? null;
  }

  get helpSession(): string | null {
    return this.session.id;
  }

  help: IHelpNotebook['help'] = (type, data, course) => this.session.emitFor(type, data, null, course);
  named: IHelpNotebook['named'] = callback => this.session.named(callback);

  readonly origin: IEventOrigin;
  readonly session: NotebookSession;
}

beforeEach(() => {
  sent = [];
  open = [];
  current = null;
  kept = new KeptRequest(new MapStorage(), 'kept', () => clock.now());
  sender = new HelpSender(
    { current: () => current, open: id => open.find(notebook => notebook.id === id) ?? null },
    clock,
    sink,
    kept
  );
});

/** What the last event, a cancellation, belongs to. */
function cancelled(requestId: string): { course: unknown; path: unknown } {
  const event = sent.at(-1) as Event;
  assert.equal(event.type, 'help_cancelled');
  assert.deepEqual(event.data, { request_id: requestId });
  return { course: event.course ?? null, path: event.notebook?.path };
}

const listed = (course: string, path: string) => ({
  kind: 'help',
  request_id: 'r1',
  status: 'open',
  course,
  notebook: { id: `id-${path.replace('.ipynb', '')}`, path, title: null }
});

test('after a reload a request is taken back in its own course, whatever course the open notebook names', () => {
  current = new OpenNotebook('misspelled', 'programing-1');
  open = [current];
  assert.ok(sender.cancel('r1', listed('programming-1', 'week1.ipynb')));
  assert.deepEqual(cancelled('r1'), { course: 'programming-1', path: 'week1.ipynb' });
  assert.notEqual(sent[0]?.session_id, current.session.id, 'the session of another notebook has no part in it');
});

test('after a reload during an outage a request is taken back in its own course, which the page before it kept', () => {
  current = new OpenNotebook('week1', 'programming-1');
  const id = sender.ask('') as string;
  sender = new HelpSender({ current: () => null, open: () => null }, clock, sink, kept);
  assert.ok(sender.cancel(id, kept.read()?.belongs ?? null));
  assert.deepEqual(cancelled(id), { course: 'programming-1', path: 'week1.ipynb' });
});

test('after a reload a request is taken back also where no notebook is open', () => {
  assert.ok(sender.cancel('r1', listed('programming-1', 'week1.ipynb')));
  assert.deepEqual(cancelled('r1'), { course: 'programming-1', path: 'week1.ipynb' });
});

test('after a reload a request of the notebook that is open is taken back in its session and the course of the request', () => {
  current = new OpenNotebook('week1', 'wrong-setting');
  open = [current];
  sender.cancel('r1', listed('programming-1', 'week1.ipynb'));
  assert.deepEqual(cancelled('r1'), { course: 'programming-1', path: 'week1.ipynb' });
  assert.equal(sent[0]?.session_id, current.session.id);
});

test('a request is taken back in the course in which it was made, after the setting of the course was changed', () => {
  for (const course of ['programming-1', null]) {
    current = new OpenNotebook('week1', course);
    const id = sender.ask('') as string;
    current.origin.course = 'wrong-setting';
    sender.cancel(id, null);
    assert.deepEqual(cancelled(id), { course, path: 'week1.ipynb' });
  }
});

test('a request is taken back after its notebook was closed or moved on to another session', () => {
  for (const end of [(session: NotebookSession) => session.end(), (session: NotebookSession) => session.begin()]) {
    const asked = new OpenNotebook('week1', 'programming-1');
    current = asked;
    const id = sender.ask('') as string;
    end(asked.session);
    current = new OpenNotebook('other', 'other-course');
    assert.ok(sender.cancel(id, null));
    assert.deepEqual(cancelled(id), { course: 'programming-1', path: 'week1.ipynb' });
  }
});

test('a request that is taken back before it is known which notebook it is of goes out before its cancellation', () => {
  const asked = new OpenNotebook('week1', 'programming-1', false);
  current = asked;
  const id = sender.ask('') as string;
  asked.session.end();
  assert.ok(sender.cancel(id, null));
  assert.equal(sent.length, 0);
  asked.origin.notebook = asked.names;
  asked.session.identified();
  assert.deepEqual(
    sent.map(event => event.type),
    ['help_requested', 'help_cancelled']
  );
  assert.deepEqual(cancelled(id), { course: 'programming-1', path: 'week1.ipynb' });
});

test('where neither the monitor nor this page knows what the request belongs to, it is not called taken back', () => {
  assert.equal(sender.cancel('r1', { kind: 'help', request_id: 'r1', status: 'open' }), null);
  assert.equal(sent.length, 0);
});
