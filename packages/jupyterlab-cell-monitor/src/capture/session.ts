import { v4 as uuid4 } from 'uuid';
import type { DataOf, IBuiltEvent, PartsOf } from '../events/builder';
import { buildEvent } from '../events/builder';
import type { Cell, EventType, Notebook } from '../events/types';
import type { IClock } from './clock';

/** What a session asks of the notebook it belongs to. */
export interface ISessionSubject {
  readonly notebook: Notebook;
  readonly course: string | null;
}

/**
 * One browser session of one notebook. Numbers its events from 1, so that a gap shows what is missing.
 * A page load begins a new session: what the last one had not sent still waits in the queue with its own numbers.
 */
export class NotebookSession {
  constructor(
    private readonly _subject: ISessionSubject,
    private readonly _clock: IClock,
    private readonly _sink: (event: IBuiltEvent) => void
  ) {}

  readonly id = uuid4();

  /** Makes the next event and hands it to the queue. Returns its id. */
  emit<T extends EventType>(type: T, data: DataOf<T>, cell: Cell | null = null): string {
    const { notebook, course } = this._subject;
    const parts = {
      session_id: this.id,
      seq: ++this._seq,
      notebook,
      ...(cell ? { cell } : {}),
      data,
      ...(course ? { course } : {})
    } as unknown as PartsOf<T>;
    const event = buildEvent(type, parts, this._clock.now());
    this._sink(event);
    return event.id;
  }

  private _seq = 0;
}
