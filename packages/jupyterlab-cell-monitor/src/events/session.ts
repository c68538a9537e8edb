import { v4 as uuid4, v7 as uuid7 } from 'uuid';
import type { IClock, IMoment } from '../runtime/clock';
import { EVENT_BYTES } from './limits';
import { capBytes, timeText, utf8Length } from './text';
import type { Cell, CellExecutedData, Event, EventType, Notebook, NotebookOpenedData } from './types';
import { TRAITS } from './types';

/** The `data` of an event of this type. */
export type DataOf<T extends EventType> = Extract<Event, { type: T }>['data'];

/** What an event of this type is made of, besides what is the same for all. */
export type PartsOf<T extends EventType> = Pick<
  Extract<Event, { type: T }>,
  'session_id' | 'seq' | 'notebook' | 'cell' | 'data' | 'course'
>;

/** An event with its JSON, as it is queued and stored. */
export interface IEncodedEvent {
  /** The event's id; ids sort by the time they were made. */
  readonly id: string;
  readonly type: string;
  /** The whole event as JSON. */
  readonly json: string;
  /** Its length in UTF-8 bytes. */
  readonly bytes: number;
  /** When it was made; missing in what an older version stored. */
  readonly made?: IMoment;
}

/** Takes events to be sent. */
export interface IEventSink {
  push(event: IEncodedEvent): void;
  /** Now, by the clocks that show how long an event waited. */
  moment(): IMoment;
}

/** What all events of a notebook name. The notebook's capture changes it in place when the notebook is renamed. */
export interface IEventOrigin {
  /** Null while it is not known which notebook it is: what happens then is kept until `NotebookSession.identified`. */
  notebook: Notebook | null;
  /** The course that the events are meant for, or null to leave it to the server. */
  course: string | null;
  /** Returns a cell with the source id that it has; while the notebook is not known that is not known either. */
  identified(cell: Cell): Cell;
}

/** An event as it is when it happens. */
interface IMadeEvent<T extends EventType> {
  readonly type: T;
  readonly id: string;
  readonly sessionId: string;
  readonly seq: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly made: IMoment;
  /** Whether it names the notebook. */
  readonly inside: boolean;
  readonly cell: Cell | null;
  readonly data: DataOf<T>;
}

/** What events of a notebook name. */
export interface INames {
  readonly notebook: Notebook;
  readonly course: string | null;
}

/** What names a session and its notebook; `seq` is the highest number that it has used. */
export interface ISessionNames {
  readonly session_id: string;
  readonly seq: number;
  readonly notebook: Notebook;
  readonly course?: string;
}

/**
 * The browser sessions of one notebook, one at a time. Numbers each session's events from 1, so that a gap shows what
 * is missing. A page load begins a new session: what the last one had not sent is still queued, with its own numbers.
 */
export class NotebookSession {
  /** @param _before - called before each event: emits what is to be emitted before it */
  constructor(
    private readonly _origin: IEventOrigin,
    private readonly _clock: IClock,
    private readonly _sink: IEventSink,
    private readonly _before: () => void = () => undefined
  ) {}

  /** The id of the open session, or null. */
  get id(): string | null {
    return this._id;
  }

  /** Starts a new session: a new id, numbered from 1. */
  begin(): void {
    this._id = uuid4();
    this._seq = 0;
  }

  /** Ends the session; nothing is emitted until the next one begins. */
  end(): void {
    this._id = null;
  }

  /**
   * Makes the next event and queues it. Returns its id, or null if no session is open.
   *
   * @param id - the event's id, where it is made from that of another event; a new one otherwise
   */
  emit<T extends EventType>(type: T, data: DataOf<T>, cell: Cell | null = null, id?: string): string | null {
    return this._emit(type, data, true, cell, { id });
  }

  /** The same, for an act of the student that is reported later than it happened. */
  emitAct<T extends EventType>(type: T, data: DataOf<T>, cell: Cell, made: IMoment): string | null {
    const id = this._emit(type, data, true, cell, { made });
    if (id !== null) {
      this._lastAct = Math.max(this._lastAct, made.monotonic);
    }
    return id;
  }

  /** When the newest of those acts happened, by the page's monotonic clock. */
  get lastAct(): number {
    return this._lastAct;
  }

  /** The same, for an event of this course, or of none, whatever the notebook's is; undefined where it is the notebook's. */
  emitFor<T extends EventType>(
    type: T,
    data: DataOf<T>,
    cell: Cell | null,
    course: string | null | undefined
  ): string | null {
    return this._emit(type, data, true, cell, { course });
  }

  /** The same, for an event that names no notebook: none is in front of the student. */
  emitOutside(type: 'heartbeat', data: DataOf<'heartbeat'>): string | null {
    return this._emit(type, data, false, null);
  }

  /**
   * Calls back with what names the open session and its notebook, as an event would, and with the cell as events name it:
   * at once, or when it is known which notebook it is. Does nothing if no session is open.
   */
  withNames(cell: Cell, callback: (names: ISessionNames, cell: Cell) => void): void {
    const sessionId = this._id;
    if (sessionId === null) {
      return;
    }
    const seq = this._seq;
    this._onceIdentified((notebook, course) => {
      const sameSession = this._id === null || this._id === sessionId;
      const names = { session_id: sessionId, seq: sameSession ? this._seq : seq, notebook, ...(course ? { course } : {}) };
      callback(names, this._origin.identified(cell));
    });
  }

  /** Calls back with what the events name: at once, or after those that wait until it is known which notebook it is. */
  named(callback: (names: INames) => void): void {
    this._onceIdentified((notebook, course) => callback({ notebook, course }));
  }

  /** It is known now which notebook it is: queues what happened before, with the times at which it happened. */
  identified(): void {
    this._held.splice(0).forEach(action => action());
  }

  private _emit<T extends EventType>(
    type: T,
    data: DataOf<T>,
    inside: boolean,
    cell: Cell | null,
    known: { readonly id?: string | undefined; readonly made?: IMoment; readonly course?: string | null | undefined } = {}
  ): string | null {
    if (this._id === null) {
      return null;
    }
    this._before();
    const id = known.id ?? uuid7();
    const event: IMadeEvent<T> = {
      type,
      id,
      sessionId: this._id,
      seq: ++this._seq,
      at: known.made?.wall ?? this._clock.now(),
      made: known.made ?? this._sink.moment(),
      inside,
      cell,
      data
    };
    this._onceIdentified((notebook, course) =>
      this._queue(event, notebook, known.course === undefined ? course : known.course)
    );
    return id;
  }

  private _onceIdentified(action: (notebook: Notebook, course: string | null) => void): void {
    const { notebook, course } = this._origin;
    if (notebook === null) {
      this._held.push(() => this._onceIdentified(action));
    } else {
      action(notebook, course);
    }
  }

  private _queue<T extends EventType>(event: IMadeEvent<T>, notebook: Notebook, course: string | null): void {
    const parts = {
      session_id: event.sessionId,
      seq: event.seq,
      ...(event.inside ? { notebook } : {}),
      ...(event.cell ? { cell: this._origin.identified(event.cell) } : {}),
      data: this._withCells(event.data),
      ...(course ? { course } : {})
    } as unknown as PartsOf<T>;
    this._sink.push({ ...encodeEvent(event.type, parts, event.at, event.id), made: event.made });
  }

  private _withCells(data: object): object {
    const { cells } = data as Partial<NotebookOpenedData>;
    return cells ? { ...data, cells: cells.map(cell => this._origin.identified(cell)) } : data;
  }

  private _id: string | null = null;
  private _seq = 0;
  private _lastAct = Number.NEGATIVE_INFINITY;
  /** What is done then, in this order. Little: the server half is asked for a few seconds at most. */
  private readonly _held: (() => void)[] = [];
}

/**
 * Makes an event: its id and its time are set here and never again. What is too large is cut and marked as truncated.
 *
 * @param now - milliseconds since 1970
 * @param id - its id; a new one if absent
 */
export function encodeEvent<T extends EventType>(
  type: T,
  parts: PartsOf<T>,
  now: number,
  id: string = uuid7()
): IEncodedEvent {
  const event = {
    event_id: id,
    type,
    schema_version: TRAITS[type].version,
    occurred_at: timeText(now),
    ...parts
  } as unknown as Event;
  let json = JSON.stringify(event);
  let bytes = utf8Length(json);
  for (let step = 0; bytes > EVENT_BYTES && step < SHRINKING.length; step++) {
    (SHRINKING[step] as (event: Event) => void)(event);
    json = JSON.stringify(event);
    bytes = utf8Length(json);
  }
  return { id: event.event_id, type, json, bytes };
}

/** What is cut, in this order, from an event that is too large as JSON although each of its texts is within its cap. */
const SHRINKING: ((event: Event) => void)[] = [
  event => cutOutputs(event, 2048),
  event => cutOutputs(event, 512),
  event => cutOutputs(event, 0),
  event => cutHeadings(event),
  event => cutLongTexts(event, 8192),
  event => cutLongTexts(event, 2048),
  event => cutOutline(event, 200),
  event => cutOutline(event, 50)
];

function executed(event: Event): CellExecutedData | null {
  return event.type === 'cell_executed' ? event.data : null;
}

function opened(event: Event): NotebookOpenedData | null {
  return event.type === 'notebook_opened' ? event.data : null;
}

function cutOutputs(event: Event, maxBytes: number): void {
  for (const output of executed(event)?.outputs ?? []) {
    const capped = capBytes(output.text, maxBytes);
    if (capped.truncated) {
      output.text = capped.text;
      output.truncated = true;
    }
  }
}

function cutLongTexts(event: Event, maxBytes: number): void {
  const data = executed(event);
  if (!data) {
    return;
  }
  const code = capBytes(data.code, maxBytes);
  if (code.truncated) {
    data.code = code.text;
    data.code_truncated = true;
  }
  if (data.error) {
    const traceback = capBytes(data.error.traceback, maxBytes);
    if (traceback.truncated) {
      data.error = { ...data.error, traceback: traceback.text, truncated: true };
    }
  }
}

function cutHeadings(event: Event): void {
  for (const cell of opened(event)?.cells ?? []) {
    delete cell.heading;
  }
}

function cutOutline(event: Event, length: number): void {
  opened(event)?.cells.splice(length);
}
