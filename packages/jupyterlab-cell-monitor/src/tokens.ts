import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

/** What the monitor is doing, as a student would say it. */
export type MonitorState = 'recording' | 'saved' | 'paused' | 'off';

/** `sending`: not with the monitor yet. `open`: seen by nobody. `claimed`: somebody is on it. */
export type HelpPhase = 'none' | 'sending' | 'open' | 'claimed';

export interface IHelpState {
  readonly phase: HelpPhase;
  readonly requestId: string | null;
  /** Who is on it, once it is claimed. */
  readonly by: string | null;
}

/** The running monitor, for this extension's own widgets and for others' extensions. */
export interface ICellMonitor {
  readonly state: MonitorState;
  readonly help: IHelpState;
  /** Events that wait in this browser. */
  readonly queued: number;
  /** Events that were given up because the queue was full. */
  readonly dropped: number;
  /** The latest recorded events as JSON, newest first. */
  readonly recent: readonly string[];
  /** Emitted when any of these may have changed. */
  readonly changed: ISignal<ICellMonitor, void>;
  /** Emitted when a help request changed, with its state before. */
  readonly helpChanged: ISignal<ICellMonitor, { state: IHelpState; before: IHelpState }>;
  /** Emitted when the monitor refused the help request. */
  readonly helpRefused: ISignal<ICellMonitor, void>;
  /** Whether a notebook is open from which help can be asked for. */
  readonly canAskForHelp: boolean;
  /** Asks for help on the current cell; false when that is not possible now. */
  askForHelp(message: string): boolean;
  /** Takes the open request back. */
  cancelHelp(): void;
}

export const ICellMonitor = new Token<ICellMonitor>(
  'jupyterlab-cell-monitor:ICellMonitor',
  'Shows what the cell monitor is doing, and asks for help.'
);

export const DOMAIN = 'jupyterlab_cell_monitor';

export namespace PluginIDs {
  export const monitor = 'jupyterlab-cell-monitor:plugin';
  export const help = 'jupyterlab-cell-monitor:help';
  export const status = 'jupyterlab-cell-monitor:status';
}

export namespace CommandIDs {
  export const askForHelp = 'cell-monitor:ask-for-help';
  export const togglePause = 'cell-monitor:toggle-pause';
  export const showStatus = 'cell-monitor:show-status';
}
