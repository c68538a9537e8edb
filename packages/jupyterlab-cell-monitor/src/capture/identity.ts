import { v4 as uuid4 } from 'uuid';
import { COURSE_CHARS, ID_CHARS } from '../events/limits';
import { capChars, storableText } from '../events/text';
import { LIMITS } from '../events/types';
import type { INotebookProposal, IOpenedNotebook } from '../transport/notebooks';

type Metadata = Readonly<Record<string, unknown>>;

function ours(metadata: Metadata, key: string): string | null {
  const block = metadata['cell_monitor'];
  if (block && typeof block === 'object') {
    const value = (block as Record<string, unknown>)[key];
    if (typeof value === 'string' && value.trim()) {
      return capChars(storableText(value.trim()), ID_CHARS);
    }
  }
  return null;
}

/**
 * How Jupyter names new notebooks and scripts: every one of them, of every student, has such a path at first. The server
 * half knows how this server names them.
 */
const UNNAMED = /^untitled\d*\.\w+$/i;

/**
 * The id that a notebook should have, and its path as the server half knows it. The student's file is never written to,
 * so the id comes, in this order, from `metadata.cell_monitor.notebook_id` (the instructor put it there before handing the
 * notebook out), `metadata.cell_monitor.assignment_id` with the file's name, and a hash of the path, which is the same for
 * all students of a course that distributes the same folders.
 */
export function proposalOf(metadata: Metadata, path: string): INotebookProposal {
  const notebookId = ours(metadata, 'notebook_id');
  if (notebookId !== null) {
    return { path, id: notebookId, named: true, shared: true };
  }
  const name = path.slice(path.lastIndexOf('/') + 1);
  const assignment = ours(metadata, 'assignment_id');
  if (assignment !== null) {
    const id = capChars(`${assignment}/${storableText(name.replace(/\.ipynb$/, ''))}`, ID_CHARS);
    return { path, id, named: false, shared: true };
  }
  return { path, id: `path-${hashOf(path)}`, named: false, shared: !UNNAMED.test(name) };
}

/** The course that the notebook names in `metadata.cell_monitor.course`, if any. */
export function courseHintOf(metadata: Metadata): string | null {
  const course = ours(metadata, 'course');
  return course !== null && course.length <= COURSE_CHARS ? course : null;
}

/** `path` and the title shown for it, both within their caps. */
export function locationOf(path: string): { path: string; title: string } {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return {
    path: capChars(storableText(path), LIMITS.notebookPath),
    title: capChars(storableText(name.replace(/\.ipynb$/, '')), LIMITS.notebookTitle)
  };
}

/** 16 hex digits of `text`: two independent 32-bit mixes (a name, not a secret: crypto.subtle is missing on plain http). */
export function hashOf(text: string): string {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 2654435761);
    b = Math.imul(b ^ unit, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  const hex = (n: number) => (n >>> 0).toString(16).padStart(8, '0');
  return hex(a) + hex(b);
}

/** Asks the server half for the id of a notebook; see `HttpNotebookIds`. */
export interface INotebookIds {
  open(
    proposal: INotebookProposal,
    movedFrom: string | null,
    remembered: string | null
  ): Promise<IOpenedNotebook | null>;
  remember(id: string, cells: readonly unknown[] | null): Promise<boolean>;
}

/** The ids of notebooks: the server half's, which all browsers share, and this browser's own while it does not answer. */
export class NotebookIdentity {
  constructor(
    private readonly _remote: INotebookIds,
    private readonly _local: LocalIds
  ) {}

  /**
   * Finds out which notebook is at a path.
   *
   * @param movedFrom - its path before, if this page saw that it was renamed
   */
  async open(metadata: Metadata, path: string, movedFrom: string | null = null): Promise<IOpenedNotebook> {
    const proposal = proposalOf(metadata, path);
    const opened = await this._remote.open(proposal, movedFrom, this._local.earlier(path));
    if (opened) {
      this._local.set(path, opened.id);
      return opened;
    }
    return { id: this._local.claim(proposal, movedFrom), cellIds: null, cells: null };
  }

  /** Returns the id of a notebook as far as this browser knows it, where the server half cannot be waited for. */
  openHere(metadata: Metadata, path: string): IOpenedNotebook {
    return { id: this._local.claim(proposalOf(metadata, path), null), cellIds: null, cells: null };
  }

  /** Stores what is known of a notebook's cells, for other pages and browsers. Returns whether it was stored. */
  async remember(id: string, cells: readonly unknown[] | null): Promise<boolean> {
    return this._remote.remember(id, cells);
  }
}

const REMEMBERED_IDS = 200;

/** Ids of notebooks in the browser's local storage; without it they are kept until the page is closed. */
export class LocalIds {
  /**
   * @param key - names them in the storage
   * @param earlierKey - where earlier versions of the extension stored the ids of renamed notebooks
   */
  constructor(
    private readonly _storage: Pick<Storage, 'getItem' | 'setItem'> | null,
    private readonly _key: string,
    earlierKey: string
  ) {
    this._ids = this._read(_key);
    this._earlier = this._read(earlierKey);
  }

  /** The id that an earlier version of the extension stored for this path, or null. */
  earlier(path: string): string | null {
    return this._earlier.get(path) ?? null;
  }

  /** The id of a notebook that the server half did not answer about: the one it had, or one that no other has. */
  claim(proposal: INotebookProposal, movedFrom: string | null): string {
    const known = this._ids.get(proposal.path) ?? (movedFrom ? this._ids.get(movedFrom) : undefined);
    if (movedFrom) {
      this._ids.delete(movedFrom);
    }
    const held = new Set(this._ids.values());
    const wanted = known ?? this.earlier(proposal.path) ?? (proposal.shared ? proposal.id : null);
    const id =
      wanted !== null && (wanted === known || !held.has(wanted))
        ? wanted
        : `${capChars(proposal.id, ID_CHARS - 13)}~${uuid4().replace(/-/g, '').slice(-12)}`;
    this.set(proposal.path, id);
    return id;
  }

  /** Stores the id of the notebook at a path. */
  set(path: string, id: string): void {
    this._ids.delete(path);
    this._ids.set(path, id);
    while (this._ids.size > REMEMBERED_IDS) {
      this._ids.delete(this._ids.keys().next().value as string);
    }
    try {
      this._storage?.setItem(this._key, JSON.stringify([...this._ids]));
    } catch {
      // The storage is full or forbidden: it is lost on the next reload.
    }
  }

  private _read(key: string): Map<string, string> {
    try {
      const kept: unknown = JSON.parse(this._storage?.getItem(key) ?? '[]');
      return new Map(
        (Array.isArray(kept) ? kept : []).filter(
          (pair): pair is [string, string] =>
            Array.isArray(pair) && typeof pair[0] === 'string' && typeof pair[1] === 'string'
        )
      );
    } catch {
      return new Map();
    }
  }

  private _ids: Map<string, string>;
  private readonly _earlier: ReadonlyMap<string, string>;
}
