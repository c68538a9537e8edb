import type { ICellView } from '../src/capture/outline';
import { SourceIds } from '../src/capture/sources';

export interface ICellOfTest {
  /** Which cell it is, whatever happens to it: what the test knows and the code under test does not. */
  readonly self: number;
  id: string;
  text: string;
  grade: string | null;
}

/** A notebook in JupyterLab, its file, and what the monitor stored about it. */
export class NotebookOfTest {
  constructor(
    /** Whether the format of the file has ids for cells. */
    private readonly _format: 'with ids' | 'without ids',
    /** Whether the program that wrote the file gave each cell an id, as the format demands. */
    idsInFile: boolean,
    cells: readonly { text: string; grade?: string }[]
  ) {
    this.cells = cells.map(({ text, grade }) => ({ self: this._made++, id: '', text, grade: grade ?? null }));
    this._file = this.cells.map((cell, n) => ({ ...cell, id: idsInFile && _format === 'with ids' ? `file-${n}` : '' }));
    this.load();
  }

  cells: ICellOfTest[];
  stored: unknown = null;
  sources!: SourceIds;

  /** A page loads the file; `meanwhile` is done before it is known which cells these are. */
  load(meanwhile: () => void = () => undefined): void {
    this.cells = this._file.map(cell => ({ ...cell, id: cell.id || `loaded-${this._made++}` }));
    const view = (cell: ICellOfTest): ICellView => ({
      id: cell.id,
      type: 'code',
      source: cell.text,
      metadata: cell.grade ? { nbgrader: { grade_id: cell.grade } } : {}
    });
    const count = (): number => this.cells.length;
    this.sources = new SourceIds({
      get length() {
        return count();
      },
      get: index => view(this.cells[index] as ICellOfTest)
    });
    this.sources.opened();
    meanwhile();
    this.sources.load({
      stored: JSON.parse(JSON.stringify(this.stored)) as unknown,
      fileIds: this._file.map(cell => cell.id || null),
      storesIds: this._format === 'with ids',
      shared: false
    });
  }

  save(): void {
    this._file = this.cells.map(cell => ({ ...cell, id: this._format === 'with ids' ? cell.id : '' }));
    this.stored = this.sources.stored;
  }

  insert(at: number, text: string, grade: string | null = null, id = `new-${this._made}`): ICellOfTest {
    const cell = { self: this._made++, id, text, grade };
    this.cells.splice(Math.min(at, this.cells.length), 0, cell);
    this.sources.changed();
    return cell;
  }

  remove(at: number): ICellOfTest | undefined {
    const [cell] = this.cells.splice(at, 1);
    this.sources.changed();
    return cell;
  }

  /** Some cells become one, in one change. */
  replace(at: number, count: number, text: string, id: string): void {
    this.cells.splice(at, count, { self: this._made++, id, text, grade: null });
    this.sources.changed();
  }

  put(at: number, cell: ICellOfTest): void {
    this.cells.splice(Math.min(at, this.cells.length), 0, cell);
    this.sources.changed();
  }

  edit(at: number, text: string): void {
    const cell = this.cells[at];
    if (cell) {
      cell.text = text;
      this.sources.edited(cell.id);
    }
  }

  /** The source id of each cell, by which cell it is. */
  get ids(): Map<number, string> {
    const all = this.sources.all;
    return new Map(this.cells.map((cell, index) => [cell.self, all[index] as string]));
  }

  private _made = 0;
  private _file: ICellOfTest[];
}

/** Cells with these texts. */
export const texts = (...all: string[]): { text: string }[] => all.map(text => ({ text }));
