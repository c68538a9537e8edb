import type { NotebookPanel } from '@jupyterlab/notebook';
import type { EventQueue } from '../queue/queue';
import type { OwnActs } from './acts';
import type { IExecutionContext } from './execution';
import type { NotebookIdentity } from './identity';

/** The document of a notebook, which all its views in this page share. */
export type NotebookDocument = NotebookPanel['context'];

/** What all captured notebooks share. */
export interface ICaptureContext extends IExecutionContext {
  readonly identity: NotebookIdentity;
  readonly acts: OwnActs;
  readonly extensionVersion: string;
  readonly labVersion: string;
  readonly queue: Pick<EventQueue, 'push' | 'moment' | 'holds' | 'queued' | 'dropped' | 'flushOnHide'>;
  /** The path of the file without the name of its drive, where that is the server's own. */
  localPath(path: string): string;
  /** The path that the file had before, if this page just renamed it or its folder to this path; else null. */
  renamedFrom(path: string): string | null;
  /** Whether one of these widgets is in front of the student: the page is visible, and the widget is its current one. */
  isInFront(widgets: ReadonlySet<unknown>): boolean;
  /** Calls back whenever another widget comes to the front. */
  onFrontChanged(callback: () => void): void;
  /** Whether the page was loaded from the address of the file at this path. */
  isAddressed(path: string): boolean;
}
