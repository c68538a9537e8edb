import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

/** The monitor's state as it is shown to the student. */
export type MonitorState = 'recording' | 'saved' | 'paused' | 'off';

/** `sending`: not accepted yet. `open`: not claimed yet. `claimed`: a member of the staff is helping. */
export type HelpPhase = 'none' | 'sending' | 'open' | 'claimed';

export interface IHelpState {
  readonly phase: HelpPhase;
  readonly requestId: string | null;
  /** The name of the person who claimed it, or null. */
  readonly by: string | null;
}

/** The running monitor, for this extension's own widgets and for others' extensions. */
export interface ICellMonitor {
  readonly state: MonitorState;
  readonly help: IHelpState;
  /** Events that wait in this browser. */
  readonly queued: number;
  /** Events that were dropped because the queue was full. */
  readonly dropped: number;
  /** The latest recorded events as JSON, newest first. */
  readonly recent: readonly string[];
  /** Emitted when any of these may have changed. */
  readonly changed: ISignal<ICellMonitor, void>;
  /** Emitted when a help request changed, with its state before. */
  readonly helpChanged: ISignal<ICellMonitor, { state: IHelpState; before: IHelpState }>;
  /** Emitted when the monitor rejected the help request. */
  readonly helpRefused: ISignal<ICellMonitor, void>;
  /** Whether a notebook is open and the monitor is on. */
  readonly canAskForHelp: boolean;
  /** Requests help with the current cell; false when that is not possible now. */
  askForHelp(message: string): boolean;
  /** Cancels the open request. */
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
