import type { MakeRequest } from './transport';

/** A notebook that is opened, and the id that it should have; see `notebook_ids.py` of the server half. */
export interface INotebookProposal {
  readonly path: string;
  /** What the file proposes: the id in its metadata, or one made from its path. */
  readonly id: string;
  /** Whether it is the id in the file's metadata, which a copy of the file has too. */
  readonly named: boolean;
  /** Whether other students may have the same file: false for a new notebook without a name. */
  readonly shared: boolean;
}

/** What the server half knows of a notebook. */
export interface IOpenedNotebook {
  readonly id: string;
  /** The ids that the file has for its cells, by position; null where they are not known. */
  readonly cellIds: readonly (string | null)[] | null;
  /** What was stored about its cells, as it was stored. */
  readonly cells: unknown;
}

const TIMEOUT_MS = 3000;

/** The ids of notebooks as the server half keeps them for all browsers of the student. Never throws. */
export class HttpNotebookIds {
  constructor(private readonly _request: MakeRequest) {}

  /**
   * Returns what is known of a notebook; null where the server half does not answer in time, or is an older one.
   *
   * @param movedFrom - its path before, if this page saw that it was renamed
   * @param remembered - the id that this browser stored for it
   */
  async open(
    proposal: INotebookProposal,
    movedFrom: string | null,
    remembered: string | null
  ): Promise<IOpenedNotebook | null> {
    const answer = await this._send('POST', {
      ...proposal,
      ...(movedFrom ? { moved_from: movedFrom } : {}),
      ...(remembered ? { remembered } : {})
    });
    const id = answer?.['notebook_id'];
    if (!answer || typeof id !== 'string' || !id) {
      return null;
    }
    const cellIds = answer['cell_ids'];
    return {
      id,
      cellIds: Array.isArray(cellIds) ? cellIds.map(each => (typeof each === 'string' ? each : null)) : null,
      cells: answer['cells']
    };
  }

  /** Stores what is known of a notebook's cells; null removes it. Returns whether it was stored. */
  async remember(id: string, cells: readonly unknown[] | null): Promise<boolean> {
    return (await this._send('PUT', { notebook_id: id, cells })) !== null;
  }

  private async _send(method: string, body: unknown): Promise<Record<string, unknown> | null> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await this._request({
        method,
        body: JSON.stringify(body),
        cache: 'no-store',
        signal: abort.signal,
        headers: { 'Content-Type': 'application/json' }
      });
      const answer: unknown = response.ok ? await response.json() : null;
      return answer && typeof answer === 'object' ? (answer as Record<string, unknown>) : null;
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  }
}
