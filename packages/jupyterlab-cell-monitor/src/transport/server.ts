import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { ITransport } from '../queue/queue';
import type { SendResult } from './answer';
import { readAnswer, retryAfterMs } from './answer';
import { newTraceparent } from './traceparent';

const TIMEOUT_MS = 15_000;

/**
 * Posts batches to the server half under this Jupyter server's own address, with its cookie and XSRF token.
 * Never throws: whatever goes wrong is a SendResult.
 */
export class ServerTransport implements ITransport {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  /** Marks every request as sampled; for tests and for support. */
  traceAll = false;

  async send(body: string, sent: number, keepalive: boolean): Promise<SendResult> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const response = await ServerConnection.makeRequest(
        URLExt.join(this._settings.baseUrl, 'cell-monitor'),
        {
          method: 'POST',
          body,
          keepalive,
          cache: 'default',
          signal: abort.signal,
          headers: { 'Content-Type': 'application/json', traceparent: newTraceparent(this.traceAll) }
        },
        this._settings
      );
      const retryAfter = retryAfterMs(response.headers.get('Retry-After'), Date.now());
      return readAnswer(response.status, await response.text(), retryAfter, sent);
    } catch (error) {
      return { kind: 'away', retryAfterMs: 0, reason: error instanceof Error ? error.name : 'NetworkError' };
    } finally {
      clearTimeout(timer);
    }
  }
}
