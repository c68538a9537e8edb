import { RAW_OUTPUT_CHARS } from '../events/limits';
import { capBytes, joinedText, settledLines, storableText, withoutEscapes } from '../events/text';
import type { Output } from '../events/types';
import { LIMITS } from '../events/types';

/** The parts of an IOPub message, or of a stored nbformat output, that outputs are made of. */
export interface IOutputMessage {
  /** `stream`, `execute_result`, `display_data`, `clear_output`; other types are ignored. */
  type: string;
  content: Readonly<Record<string, unknown>>;
}

interface IGathered {
  type: Output['type'];
  name?: string;
  mime?: string;
  raw: string;
  size: number;
  cut: boolean;
}

/**
 * Gathers the outputs of one run in bounded memory.
 * Streams are merged, displays are kept as their plain text, their other forms only as a size.
 */
export class OutputCollector {
  add(message: IOutputMessage): void {
    switch (message.type) {
      case 'stream':
        this._clearIfAsked();
        this._stream(joinedText(message.content['name']).slice(0, 64) || 'stdout', joinedText(message.content['text']));
        break;
      case 'execute_result':
      case 'display_data':
        this._clearIfAsked();
        this._display(message.type === 'execute_result' ? 'result' : 'display', message.content['data']);
        break;
      case 'clear_output':
        if (message.content['wait'] === true) {
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
    const outputs = this._gathered.map(gathered => {
      const shown = storableText(settledLines(withoutEscapes(gathered.raw)));
      const capped = capBytes(shown, LIMITS.outputText);
      const truncated = gathered.cut || capped.truncated;
      return {
        type: gathered.type,
        ...(gathered.name !== undefined ? { name: gathered.name } : {}),
        ...(gathered.mime !== undefined ? { mime: gathered.mime } : {}),
        text: capped.text,
        size: gathered.size,
        ...(truncated ? { truncated } : {})
      };
    });
    return { outputs, truncated: this._missed };
  }

  private _stream(name: string, text: string): void {
    const last = this._gathered[this._gathered.length - 1];
    let target = last?.type === 'stream' && last.name === name ? last : undefined;
    if (!target && this._gathered.length >= LIMITS.outputs) {
      // A loop that writes to stdout and stderr in turn must not fill the list.
      target = this._gathered.find(output => output.type === 'stream' && output.name === name);
    }
    if (target) {
      this._append(target, text);
    } else {
      this._push({ type: 'stream', name, raw: '', size: 0, cut: false }, text);
    }
  }

  private _display(type: 'result' | 'display', data: unknown): void {
    if (!data || typeof data !== 'object') {
      return;
    }
    const bundle = data as Record<string, unknown>;
    const mimes = Object.keys(bundle);
    const rich = mimes.find(mime => mime !== 'text/plain');
    const others = mimes.filter(mime => mime !== 'text/plain').reduce((sum, mime) => sum + sizeOf(bundle[mime]), 0);
    this._push(
      { type, mime: (rich ?? 'text/plain').slice(0, 128), raw: '', size: others, cut: false },
      joinedText(bundle['text/plain'])
    );
  }

  private _push(output: IGathered, text: string): void {
    if (this._gathered.length >= LIMITS.outputs) {
      this._missed = true;
      return;
    }
    this._gathered.push(output);
    this._append(output, text);
  }

  private _append(output: IGathered, text: string): void {
    output.size += text.length;
    const free = RAW_OUTPUT_CHARS - output.raw.length;
    if (text.length > free) {
      output.cut = true;
    }
    if (free > 0) {
      output.raw += text.slice(0, free);
    }
  }

  private _clearIfAsked(): void {
    if (this._clearsOnNext) {
      this._clear();
    }
  }

  private _clear(): void {
    this._gathered = [];
    this._missed = false;
    this._clearsOnNext = false;
  }

  private _gathered: IGathered[] = [];
  private _missed = false;
  private _clearsOnNext = false;
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
