import type { ICellFinder, RunSession } from '../src/capture/reports';
import type { IKernelMessage } from '../src/capture/request';
import type { RunTracker } from '../src/capture/runs';
import type { DataOf, NotebookSession } from '../src/events/session';
import type { Cell, CellExecutedData } from '../src/events/types';
import type { StillClock } from './clock';

export const reference = (id: string): Cell => ({ id, source_id: id, index: 0, type: 'code' });

/** A notebook whose cells have ids that begin with "cell". */
export const cells: ICellFinder = { reference: id => (id.startsWith('cell') ? reference(id) : null) };

/** The events of runs that a session was given. */
export class RunLog implements RunSession {
  readonly started: string[] = [];
  readonly queued: boolean[] = [];
  lastAct = Number.NEGATIVE_INFINITY;
  /** How often the kernel was reported as connected. */
  connected = 0;
  readonly finished: { cell: Cell; data: CellExecutedData }[] = [];

  /** Ids of the events, in the order in which they were made. */
  readonly ids: string[] = [];

  readonly names = {
    session_id: '01890000-0000-4000-8000-000000000000',
    seq: 7,
    notebook: { id: 'week1', path: 'week1.ipynb' },
    course: 'intro'
  };

  withNames: NotebookSession['withNames'] = (cell, callback) => callback(this.names, cell);

  emit: NotebookSession['emit'] = (type, data, cell, id) => {
    const made = id ?? `01890000-0000-7000-8000-00000000000${(2 * this.ids.length).toString(16)}`;
    this.ids.push(made);
    if (type === 'cell_execution_started') {
      const start = data as DataOf<'cell_execution_started'>;
      this.started.push(start.execution_id);
      this.queued.push(start.queued === true);
    } else if (type === 'cell_executed') {
      this.finished.push({ cell: cell as Cell, data: data as CellExecutedData });
    } else if (type === 'kernel_connected') {
      this.connected += 1;
    } else {
      throw new Error(`a run made an event ${type}`);
    }
    return made;
  };
}

function parentHeader(parent?: string | { id: string; type: string }): IKernelMessage['parent_header'] {
  if (parent === undefined) {
    return {};
  }
  return typeof parent === 'string' ? { msg_id: parent } : { msg_id: parent.id, msg_type: parent.type };
}

let serial = 0;

/** Makes messages as they pass between a page and its kernel, and gives them to a tracker. */
export class Kernel {
  constructor(
    private readonly _tracker: Pick<RunTracker, 'message'>,
    private readonly _clock: StillClock
  ) {}

  message(
    channel: string,
    type: string,
    content: Record<string, unknown>,
    parent?: string | { id: string; type: string },
    metadata: Record<string, unknown> = {}
  ): IKernelMessage {
    serial += 1;
    return {
      channel,
      header: {
        msg_id: `00000000-0000-4000-8000-${serial.toString(16).padStart(12, '0')}`,
        msg_type: type,
        date: new Date(this._clock.time).toISOString()
      },
      parent_header: parentHeader(parent),
      metadata,
      content
    };
  }

  /** The page sends a message; returns its id. */
  send(...args: Parameters<Kernel['message']>): string {
    const sent = this.message(...args);
    this._tracker.message(sent, 'send');
    return sent.header.msg_id;
  }

  /** The page asks the kernel to run a cell; returns the request's id. */
  request(cellId: string, code = 'x', metadata: Record<string, unknown> = {}): string {
    return this.send('shell', 'execute_request', { code, silent: false }, undefined, { ...metadata, cellId });
  }

  receive(...args: Parameters<Kernel['message']>): void {
    this._tracker.message(this.message(...args), 'recv');
  }

  input(run: string, count = 1): void {
    this.receive('iopub', 'execute_input', { execution_count: count }, run);
  }

  print(run: string, text: string): void {
    this.receive('iopub', 'stream', { name: 'stdout', text }, run);
  }

  show(run: string, name: string): void {
    this.receive('iopub', 'error', { ename: name, evalue: 'v', traceback: ['t'] }, run);
  }

  reply(run: string, content: Record<string, unknown>, metadata: Record<string, unknown> = {}): void {
    this.receive('shell', 'execute_reply', content, run, metadata);
  }

  idle(run: string): void {
    this.receive('iopub', 'status', { execution_state: 'idle' }, run);
  }

  /** A status whose parent may be another client's request. */
  status(state: string, parent: { id: string; type: string }): void {
    this.receive('iopub', 'status', { execution_state: state }, parent);
  }

  /** Reply and idle status. */
  end(run: string, content: Record<string, unknown> = { status: 'ok' }): void {
    this.reply(run, content);
    this.idle(run);
  }
}
