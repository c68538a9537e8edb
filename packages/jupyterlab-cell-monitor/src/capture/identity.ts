import { COURSE_CHARS, ID_CHARS } from '../events/limits';
import { capChars, storableText } from '../events/text';
import { LIMITS } from '../events/types';

/** Keeps renames of notebooks between page loads. */
export interface IRenameMemory {
  /** The id that the notebook at this path was given before, or null. */
  idAt(path: string): string | null;
  /** Stores that the notebook with this id is now at `path`. */
  moved(path: string, id: string): void;
}

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
 * The notebook's id. The student's file is never written to, so it comes, in this order, from
 * `metadata.cell_monitor.notebook_id` (the instructor put it there before handing the notebook out),
 * `metadata.cell_monitor.assignment_id`, the id this notebook had before it was renamed, and a hash of its path,
 * which is the same for all students of a course that distributes the same folders.
 */
export function notebookIdOf(metadata: Metadata, path: string, renames: IRenameMemory): string {
  return (
    ours(metadata, 'notebook_id') ?? ours(metadata, 'assignment_id') ?? renames.idAt(path) ?? `path-${hashOf(path)}`
  );
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

const REMEMBERED_RENAMES = 200;

/** Renames in the browser's local storage; without it they are kept until the page is closed. */
export class StoredRenames implements IRenameMemory {
  constructor(
    private readonly _storage: Pick<Storage, 'getItem' | 'setItem'> | null,
    private readonly _key: string
  ) {
    try {
      const kept: unknown = JSON.parse(this._storage?.getItem(this._key) ?? '[]');
      if (Array.isArray(kept)) {
        this._ids = new Map(
          kept.filter(
            (pair): pair is [string, string] =>
              Array.isArray(pair) && typeof pair[0] === 'string' && typeof pair[1] === 'string'
          )
        );
      }
    } catch {
      this._ids = new Map();
    }
  }

  idAt(path: string): string | null {
    return this._ids.get(path) ?? null;
  }

  moved(path: string, id: string): void {
    this._ids.delete(path);
    if (id !== `path-${hashOf(path)}`) {
      this._ids.set(path, id);
    }
    while (this._ids.size > REMEMBERED_RENAMES) {
      this._ids.delete(this._ids.keys().next().value as string);
    }
    try {
      this._storage?.setItem(this._key, JSON.stringify([...this._ids]));
    } catch {
      // The storage is full or forbidden: this rename is lost on the next reload.
    }
  }

  private _ids = new Map<string, string>();
}
