import { v7 as uuid7 } from 'uuid';
import { EVENT_BYTES } from '../capture/limits';
import { capBytes, utf8Length } from '../capture/text';
import type { CellExecutedData, Event, EventType, NotebookOpenedData } from './types';
import { TRAITS } from './types';

/** The `data` of an event of this type. */
export type DataOf<T extends EventType> = Extract<Event, { type: T }>['data'];

/** What an event of this type is made of, besides what is the same for all. */
export type PartsOf<T extends EventType> = Pick<
  Extract<Event, { type: T }>,
  'session_id' | 'seq' | 'notebook' | 'cell' | 'data' | 'course'
>;

/** An event that is ready to be queued. */
export interface IBuiltEvent {
  readonly id: string;
  readonly type: EventType;
  /** The whole event as JSON. */
  readonly json: string;
  /** Its length in UTF-8 bytes. */
  readonly bytes: number;
}

/**
 * Makes an event: its id and its time are set here and never again.
 *
 * @param now - milliseconds since 1970
 */
export function buildEvent<T extends EventType>(type: T, parts: PartsOf<T>, now: number): IBuiltEvent {
  const event = {
    event_id: uuid7(),
    type,
    schema_version: TRAITS[type].version,
    occurred_at: new Date(now).toISOString(),
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
