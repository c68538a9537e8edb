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
  /** When it was queued; missing in what an older version stored. */
  readonly made?: IMoment;
}

/** Takes events to be sent. */
export interface IEventSink {
  push(event: IEncodedEvent): void;
}

/** What all events of a notebook name. The notebook's capture changes it in place when the notebook is renamed. */
export interface IEventOrigin {
  notebook: Notebook;
  /** The course that the events are meant for, or null to leave it to the server. */
  course: string | null;
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
  constructor(
    private readonly _origin: IEventOrigin,
    private readonly _clock: IClock,
    private readonly _sink: IEventSink
  ) {}

  /** The id of the open session, or null. */
  get id(): string | null {
    return this._id;
  }

  /** What names the open session and its notebook, as its next event would; null if none is open. */
  get names(): ISessionNames | null {
    const { notebook, course } = this._origin;
    return this._id === null ? null : { session_id: this._id, seq: this._seq, notebook, ...(course ? { course } : {}) };
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
    return this._emit(type, data, this._origin.notebook, cell, id);
  }

  /** The same, for an event that names no notebook: none is in front of the student. */
  emitOutside(type: 'heartbeat', data: DataOf<'heartbeat'>): string | null {
    return this._emit(type, data, null, null);
  }

  private _emit<T extends EventType>(
    type: T,
    data: DataOf<T>,
    notebook: Notebook | null,
    cell: Cell | null,
    id?: string
  ): string | null {
    if (this._id === null) {
      return null;
    }
    const { course } = this._origin;
    const parts = {
      session_id: this._id,
      seq: ++this._seq,
      ...(notebook ? { notebook } : {}),
      ...(cell ? { cell } : {}),
      data,
      ...(course ? { course } : {})
    } as unknown as PartsOf<T>;
    const event = encodeEvent(type, parts, this._clock.now(), id);
    this._sink.push(event);
    return event.id;
  }

  private _id: string | null = null;
  private _seq = 0;
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
