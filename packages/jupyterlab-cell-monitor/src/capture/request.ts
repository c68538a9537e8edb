import { joinedText } from '../events/text';
import type { CellExecutedData, ExecutionError } from '../events/types';
import { errorIn } from './errors';
import { OutputCollector } from './outputs';

/** The parts of a Jupyter kernel message that runs are read from. */
export interface IKernelMessage {
  readonly channel: string;
  readonly header: { readonly msg_id: string; readonly msg_type: string; readonly date?: string };
  readonly parent_header: { readonly msg_id?: string; readonly msg_type?: string };
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly content: Readonly<Record<string, unknown>>;
}

/** The state of the kernel that a message publishes, or null where it publishes none. */
export function publishedState(message: IKernelMessage): unknown {
  const isStatus = message.channel === 'iopub' && message.header.msg_type === 'status';
  return isStatus ? message.content['execution_state'] : null;
}

/** How a run ended. */
export interface IOutcome {
  status: CellExecutedData['status'];
  error: ExecutionError | null;
}

interface IReply extends Readonly<IOutcome> {
  startedAt: string | null;
  endedAt: string | null;
  readonly asksExit: boolean;
}

/** What ipykernel 7.4 names in the reply where the result of a cell cannot be shown, as its `__repr__` raises. */
const UNNAMED = 'NoneType';

/**
 * What the messages that answer one `execute_request` say about its run: whether it started, what it shows, how it ended.
 * It has no clock and knows no other request; which messages are its own is decided by their parent alone.
 *
 * A run has failed when the student sees an error for it: the reply of `%run`, `%%capture` or `%%time` is `ok` although
 * their traceback is shown, and an error that was cleared again, or caught and printed, is none.
 */
export class RequestProgress {
  readonly outputs = new OutputCollector();

  /** Whether the kernel has begun to execute it. */
  get started(): boolean {
    return this._started;
  }

  /** When it began, by the kernel's clock, or null. */
  get startedAt(): string | null {
    return this._reply?.startedAt ?? this._startedAt;
  }

  /** When it ended, by the kernel's clock, or null. */
  get endedAt(): string | null {
    return this._reply?.endedAt ?? this._idleAt;
  }

  get executionCount(): number | null {
    return this._executionCount;
  }

  /** Whether its reply has arrived. */
  get replied(): boolean {
    return this._reply !== null;
  }

  /** Whether its reply or its own idle status says that it has ended; outputs may still be on their way. */
  get ended(): boolean {
    return this._reply !== null || this._idle;
  }

  /** Whether its code called `quit()` or `exit()`: the kernel ends right after its reply. */
  get asksExit(): boolean {
    return this._reply?.asksExit ?? false;
  }

  /**
   * Whether the kernel may have ended with it, and its reply with the kernel: the reply and the idle status come over
   * different sockets, so that the death of the kernel may be known between the two. An error that is shown is its end.
   */
  get endsWithKernel(): boolean {
    return this.asksExit || (this._started && this._reply === null && this.outputs.error === null);
  }

  /** The student asked for an interrupt while the kernel executed it: an error at its end is no failure. */
  interrupt(): void {
    this._interrupted = true;
  }

  /** Whether all messages have arrived. */
  get complete(): boolean {
    return this._reply !== null && this._idle;
  }

  /** How it ended, as far as is known now: without a reply and an idle status of its own it was aborted. */
  get outcome(): IOutcome {
    const shown = this.outputs.error;
    const reply = this._reply;
    if (reply?.error) {
      // The shown error is the same one, unless it was cleared or is an earlier one, or the reply names none.
      const error = shown && [shown.name, UNNAMED].includes(reply.error.name) ? shown : reply.error;
      return endedBy(error, this._interrupted);
    }
    if (reply?.status === 'aborted' || !this.ended) {
      return { status: 'aborted', error: null };
    }
    if (shown) {
      return endedBy(shown, this._interrupted);
    }
    // A kernel answers a request that it skips with an idle status, too, but it never begins it.
    return { status: reply || this._started ? 'ok' : 'aborted', error: null };
  }

  /** Takes a message that names this request as its parent. */
  receive(message: IKernelMessage): void {
    if (message.channel === 'iopub') {
      this._iopub(message);
    } else if (message.channel === 'shell' && message.header.msg_type === 'execute_reply') {
      this._receiveReply(message);
    }
  }

  private _iopub(message: IKernelMessage): void {
    const type = message.header.msg_type;
    switch (type) {
      case 'execute_input':
        this._executionCount = countOf(message.content['execution_count']) ?? this._executionCount;
        this._begin(message);
        break;
      case 'status':
        if (message.content['execution_state'] === 'idle') {
          this._idle = true;
          this._idleAt = message.header.date ?? null;
        }
        break;
      case 'error':
      case 'stream':
      case 'execute_result':
      case 'display_data':
      case 'update_display_data':
      case 'clear_output':
        this._begin(message);
        this.outputs.add({ type, content: message.content });
        break;
      default:
        break;
    }
  }

  private _begin(message: IKernelMessage): void {
    if (!this._started) {
      this._started = true;
      this._startedAt = message.header.date ?? null;
    }
  }

  private _receiveReply(message: IKernelMessage): void {
    const { content, metadata } = message;
    this._executionCount = countOf(content['execution_count']) ?? this._executionCount;
    const started = metadata['started'];
    const status = content['status'];
    this._reply = {
      // The protocol's older versions spell it "abort".
      status: status === 'ok' || status === 'error' ? status : 'aborted',
      error: status === 'error' ? errorIn(content) : null,
      startedAt: typeof started === 'string' ? started : null,
      endedAt: message.header.date ?? null,
      asksExit: payloadOf(content).some(part => part['source'] === 'ask_exit' && part['keepkernel'] !== true)
    };
    // JupyterLab shows the help text of `name?` below the cell.
    for (const page of payloadOf(content).filter(part => part['source'] === 'page').slice(0, 1)) {
      this.outputs.add({ type: 'display_data', content: page });
    }
  }

  private _started = false;
  private _startedAt: string | null = null;
  private _executionCount: number | null = null;
  private _reply: IReply | null = null;
  private _idle = false;
  private _idleAt: string | null = null;
  private _interrupted = false;
}

/**
 * The end of a run that shows this error. An interrupt is not an error in the code: the run was aborted, also where it
 * arrives as another exception (`CalledProcessError` of `%%bash`, `CancelledError` of `await`).
 */
export function endedBy(error: ExecutionError, interrupted: boolean): IOutcome {
  return { status: interrupted || error.name === 'KeyboardInterrupt' ? 'aborted' : 'error', error };
}

/**
 * Whether the author of a cell says that it may fail: the tag `raises-exception`, by which JupyterLab and nbclient go on
 * after its error.
 */
export function mayFail(metadata: Readonly<Record<string, unknown>>): boolean {
  const tags = metadata['tags'];
  return Array.isArray(tags) && tags.includes('raises-exception');
}

/** The code of an `execute_request` in a cell, or null where the message is none that a student sees. */
export function requestedCode(message: IKernelMessage): { cellId: string; code: string } | null {
  const cellId = message.metadata['cellId'];
  const isRequest = message.channel === 'shell' && message.header.msg_type === 'execute_request';
  if (!isRequest || typeof cellId !== 'string' || message.content['silent'] === true) {
    return null;
  }
  return { cellId, code: joinedText(message.content['code']) };
}

/** What a reply asks its page to do. */
function payloadOf(content: IKernelMessage['content']): Record<string, unknown>[] {
  const payload = content['payload'];
  const parts = Array.isArray(payload) ? (payload as unknown[]) : [];
  return parts.filter((part): part is Record<string, unknown> => !!part && typeof part === 'object');
}

function countOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= 2147483647 ? value : null;
}
