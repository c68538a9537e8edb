import { RAW_OUTPUT_CHARS } from '../events/limits';
import { capBytes, joinedText, storableText, withoutEscapes } from '../events/text';
import type { ExecutionError, Output } from '../events/types';
import { LIMITS } from '../events/types';
import { errorIn, errorOf } from './errors';
import { StreamText } from './stream';

/** The parts of an IOPub message, or of a stored nbformat output, that outputs are made of. */
export interface IOutputMessage {
  /** `stream`, `execute_result`, `display_data`, `update_display_data`, `error`, `clear_output`; others are ignored. */
  type: string;
  content: Readonly<Record<string, unknown>>;
}

interface IStream {
  readonly type: 'stream';
  readonly name: string;
  readonly shown: StreamText;
  size: number;
}

interface IDisplay {
  readonly type: 'result' | 'display';
  /** Under which name later messages replace it, if they may. */
  readonly id: string | null;
  bundle: IBundle;
}

/** A MIME bundle as it is recorded: its plain text, and its other forms only as a size. */
interface IBundle {
  mime: string;
  text: string;
  size: number;
  cut: boolean;
}

/**
 * Gathers in bounded memory what the student sees below a cell at the end of a run: the rules are those of JupyterLab's
 * output area. Texts of one stream in a row are one output; an update replaces the displays of its id; clearing removes
 * what is there, an error included.
 */
export class OutputCollector {
  /** The last error that is shown, or null. */
  get error(): ExecutionError | null {
    return this._error;
  }

  add(message: IOutputMessage): void {
    const { content } = message;
    switch (message.type) {
      case 'stream':
        this._clearIfAsked();
        this._stream(joinedText(content['name']).slice(0, 64) || 'stdout', joinedText(content['text']));
        break;
      case 'execute_result':
        this._clearIfAsked();
        this._display('result', content);
        break;
      case 'display_data':
        this._clearIfAsked();
        // JupyterLab shows it once more, and what was shown under its id before becomes the same.
        this._update(content);
        this._display('display', content);
        break;
      case 'update_display_data':
        this._update(content);
        break;
      case 'error':
        this._clearIfAsked();
        this._error = errorIn(content);
        break;
      case 'clear_output':
        if (content['wait'] === true) {
          this._clearsOnNext = true;
        } else {
          this._clear();
        }
        break;
      default:
        break;
    }
  }

  /** The outputs so far; `truncated` when there were more than fit. */
  records(): { outputs: Output[]; truncated: boolean } {
    const outputs = this._gathered.map(gathered =>
      gathered.type === 'stream'
        ? recordOf({ type: 'stream', name: gathered.name }, gathered.shown.text, gathered.size, gathered.shown.cut)
        : recordOf(
            { type: gathered.type, mime: gathered.bundle.mime },
            gathered.bundle.text,
            gathered.bundle.size,
            gathered.bundle.cut
          )
    );
    return { outputs, truncated: this._missed };
  }

  private _stream(name: string, text: string): void {
    const last = this._gathered[this._gathered.length - 1];
    const ofName = (output: IStream | IDisplay | undefined): output is IStream =>
      output?.type === 'stream' && output.name === name;
    let target = ofName(last) ? last : undefined;
    if (!target && this._gathered.length >= LIMITS.outputs) {
      // A loop that writes to stdout and stderr in turn must not fill the list.
      target = this._gathered.find(ofName);
    }
    if (!target) {
      target = { type: 'stream', name, shown: new StreamText(), size: 0 };
      this._push(target);
    }
    target.size += text.length;
    target.shown.write(text);
  }

  private _display(type: IDisplay['type'], content: IOutputMessage['content']): void {
    const bundle = bundleOf(content['data']);
    if (bundle) {
      // JupyterLab updates displays only, not results.
      this._push({ type, id: type === 'display' ? displayId(content) : null, bundle });
    }
  }

  private _update(content: IOutputMessage['content']): void {
    const id = displayId(content);
    const bundle = id === null ? null : bundleOf(content['data']);
    for (const output of this._gathered) {
      if (bundle && output.type !== 'stream' && output.id === id) {
        output.bundle = bundle;
      }
    }
  }

  private _push(output: IStream | IDisplay): void {
    if (this._gathered.length >= LIMITS.outputs) {
      this._missed = true;
    } else {
      this._gathered.push(output);
    }
  }

  private _clearIfAsked(): void {
    if (this._clearsOnNext) {
      this._clear();
    }
  }

  private _clear(): void {
    this._gathered = [];
    this._error = null;
    this._missed = false;
    this._clearsOnNext = false;
  }

  private _gathered: (IStream | IDisplay)[] = [];
  private _error: ExecutionError | null = null;
  private _missed = false;
  private _clearsOnNext = false;
}

/** `UsageError: Line magic function `%x` not found.`, as the last line of what is written. */
const NAMED_LINE = /^([A-Za-z_][A-Za-z0-9_.]{0,120}): ?(.*)$/;

/**
 * The error of stored outputs that show none, where the run is known to have failed: what the student reads last on
 * stderr. IPython writes a wrong use of a magic there, as `<name>: <value>`, and reports it in the reply alone.
 */
export function errorOnStderr(outputs: readonly IOutputMessage[]): ExecutionError {
  const last = outputs.filter(({ type, content }) => type === 'stream' && content['name'] === 'stderr').pop();
  const text = withoutEscapes(joinedText(last?.content['text'])).trimEnd();
  const line = text.slice(text.lastIndexOf('\n') + 1);
  const [, name = '', value = line] = NAMED_LINE.exec(line) ?? [];
  return errorOf({ name, value, traceback: text });
}

function recordOf(kind: Pick<Output, 'type' | 'name' | 'mime'>, text: string, size: number, cut: boolean): Output {
  const capped = capBytes(storableText(withoutEscapes(text)), LIMITS.outputText);
  return { ...kind, text: capped.text, size, ...(cut || capped.truncated ? { truncated: true } : {}) };
}

function displayId(content: IOutputMessage['content']): string | null {
  const transient = content['transient'];
  const id = transient && typeof transient === 'object' ? (transient as Record<string, unknown>)['display_id'] : null;
  return typeof id === 'string' ? id : null;
}

function bundleOf(data: unknown): IBundle | null {
  if (!data || typeof data !== 'object') {
    return null;
  }
  const bundle = data as Record<string, unknown>;
  const mimes = Object.keys(bundle);
  const rich = mimes.find(mime => mime !== 'text/plain');
  const others = mimes.filter(mime => mime !== 'text/plain').reduce((sum, mime) => sum + sizeOf(bundle[mime]), 0);
  const text = joinedText(bundle['text/plain']);
  return {
    mime: (rich ?? 'text/plain').slice(0, 128),
    text: text.slice(0, RAW_OUTPUT_CHARS),
    size: others + text.length,
    cut: text.length > RAW_OUTPUT_CHARS
  };
}

/** Characters of a MIME value; a large JSON value is measured in part, to bound the time. */
function sizeOf(value: unknown, budget = { nodes: 2000 }): number {
  if (typeof value === 'string') {
    return value.length;
  }
  if (value === null || typeof value !== 'object') {
    return String(value).length;
  }
  let size = 2;
  for (const [key, item] of Object.entries(value)) {
    if (budget.nodes-- <= 0) {
      break;
    }
    size += key.length + sizeOf(item, budget);
  }
  return size;
}
