import { RAW_OUTPUT_CHARS } from '../events/limits';

/**
 * The text of one output stream as JupyterLab shows it, in bounded memory.
 *
 * Backspace, carriage return and line feed act as in JupyterLab's output area (`Private.processText` in
 * packages/outputarea/src/model.ts): a backspace deletes within the line
 * (in its midst also the character after, as there), a carriage return goes back to its beginning,
 * what follows overwrites character by character, and a line feed begins a new line after the whole text. Only the last
 * line can still change, also across messages, so only that one is kept apart.
 */
export class StreamText {
  /** Whether text was left out because there was too much of it. */
  get cut(): boolean {
    return this._cut;
  }

  /** What is shown, up to `RAW_OUTPUT_CHARS` characters. */
  get text(): string {
    return (this._lines + this._line).slice(0, RAW_OUTPUT_CHARS);
  }

  write(text: string): void {
    if (this._lines.length >= RAW_OUTPUT_CHARS) {
      // Nothing of what is shown can change any more.
      this._cut ||= text.length > 0;
      return;
    }
    let from = 0;
    for (const match of text.matchAll(CONTROLS)) {
      this._put(text.slice(from, match.index));
      from = match.index + 1;
      switch (match[0]) {
        case '\n':
          this._newLine();
          break;
        case '\r':
          this._column = 0;
          break;
        default:
          this._backspace();
      }
    }
    this._put(text.slice(from));
    if (this._lines.length + this._line.length > RAW_OUTPUT_CHARS) {
      this._cut = true;
    }
  }

  private _put(text: string): void {
    if (!text) {
      return;
    }
    const kept = text.slice(0, RAW_OUTPUT_CHARS - this._column);
    this._cut ||= kept.length < text.length;
    this._line = this._line.slice(0, this._column) + kept + this._line.slice(this._column + kept.length);
    this._column += kept.length;
  }

  private _newLine(): void {
    if (this._lines.length < RAW_OUTPUT_CHARS) {
      this._lines += `${this._line}\n`;
    } else {
      this._cut = true;
    }
    this._line = '';
    this._column = 0;
  }

  private _backspace(): void {
    if (this._column > 0) {
      this._line = this._line.slice(0, this._column - 1) + this._line.slice(this._column + 1);
      this._column--;
    }
  }

  private _lines = '';
  private _line = '';
  private _column = 0;
  private _cut = false;
}

// eslint-disable-next-line no-control-regex
const CONTROLS = /[\n\r\u0008]/g;
