import { v4 as uuid4, v7 as uuid7 } from 'uuid';
import { encodeEvent } from '../events/session';
import type { DataOf, IEventSink, INames } from '../events/session';
import type { IClock } from '../runtime/clock';
import type { INotice } from '../transport/transport';
import type { KeptRequest } from './kept';

/** The notebook in which help is asked for or taken back: its capture. */
export interface IHelpNotebook {
  /** The notebook's id as its events name it, or null while it is not known. */
  readonly id: string | null;
  /** The session of the next help event, or null. */
  readonly helpSession: string | null;
  /** @param course - the course that the event names, null for none; undefined for the notebook's */
  help<T extends 'help_requested' | 'help_cancelled'>(type: T, data: DataOf<T>, course?: string | null): string | null;
  /** Calls back once it is known what the events of the notebook name. */
  named(callback: (names: INames) => void): void;
}

export interface IHelpSenderHost {
  /** The notebook that the student is in, or null. */
  current(): IHelpNotebook | null;
  /** The open notebook with this id, or null. */
  open(notebookId: string): IHelpNotebook | null;
}

/** A request that was made on this page. */
interface IAsked {
  readonly id: string;
  readonly notebook: IHelpNotebook;
  readonly session: string | null;
  /** Null while it is not known which notebook it is. */
  names: INames | null;
}

/**
 * Makes the events of help requests. A cancellation belongs to its request: it names the course and the notebook of the
 * request, whatever notebook the student is in by then, or none.
 */
export class HelpSender {
  constructor(
    private readonly _host: IHelpSenderHost,
    private readonly _clock: Pick<IClock, 'now'>,
    private readonly _sink: IEventSink,
    private readonly _kept: Pick<KeptRequest, 'belong'>
  ) {}

  /** Asks for help in the current notebook. Returns the id of that event, or null where no notebook is open. */
  ask(message: string): string | null {
    const notebook = this._host.current();
    const id = notebook?.help('help_requested', message ? { message } : {}) ?? null;
    if (notebook && id !== null) {
      const asked: IAsked = { id, notebook, session: notebook.helpSession, names: null };
      notebook.named(names => {
        asked.names = names;
        this._kept.belong(id, names.course, names.notebook);
      });
      this._asked = asked;
    }
    return id;
  }

  /**
   * Takes a request back. Returns the id of that event, or null where it is not known what the request belongs to.
   *
   * @param notice - the monitor's latest notice of the request, which knows its course also where its event named none
   */
  cancel(requestId: string, notice: INotice | null): string | null {
    const asked = this._asked?.id === requestId ? this._asked : null;
    const data = { request_id: requestId };
    const course = notice?.course ?? asked?.names?.course;
    if (asked && asked.session !== null && asked.notebook.helpSession === asked.session) {
      return asked.notebook.help('help_cancelled', data, course);
    }
    if (asked) {
      // Its notebook was closed, or its session has ended.
      const id = uuid7();
      asked.notebook.named(names => this._push(id, data, { ...(asked.names ?? names), ...(course ? { course } : {}) }));
      return id;
    }
    const notebook = notice?.notebook ?? null;
    const open = notebook && this._host.open(notebook.id);
    if (open) {
      return open.help('help_cancelled', data, course);
    }
    if (notebook) {
      const { id, path, title } = notebook;
      return this._push(uuid7(), data, { notebook: { id, path, ...(title ? { title } : {}) }, course: course ?? null });
    }
    // The monitor is of a release that does not say what the request belongs to: the notebook here has to do.
    return this._host.current()?.help('help_cancelled', data, course) ?? null;
  }

  /** In a session of its own. */
  private _push(id: string, data: DataOf<'help_cancelled'>, { notebook, course }: INames): string {
    const parts = { session_id: uuid4(), seq: 1, notebook, data, ...(course ? { course } : {}) };
    const event = encodeEvent('help_cancelled', parts, this._clock.now(), id);
    this._sink.push({ ...event, made: this._sink.moment() });
    return id;
  }

  private _asked: IAsked | null = null;
}
