import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

/**
 * The monitor's state as it is shown to the student. `incomplete`: some events were refused or lost lately.
 * `saved`: kept and sent later. `held`: kept until somebody corrects the configuration or signs in.
 * `refused`: nothing of the current notebook is recorded. `misconfigured`: nothing is recorded, although it was meant to be.
 * `unjoined`: nothing is recorded until the student joins a class by its code.
 */
export type MonitorState =
  | 'recording'
  | 'incomplete'
  | 'saved'
  | 'held'
  | 'refused'
  | 'paused'
  | 'misconfigured'
  | 'unjoined'
  | 'off';

/** Whether nothing is recorded, whatever the student does in notebooks. */
export function isSwitchedOff(state: MonitorState): boolean {
  return state === 'off' || state === 'misconfigured' || state === 'unjoined';
}

/**
 * `sending`: not accepted yet. `open`: not claimed yet. `claimed`: a member of the staff is helping.
 * `cancelling`: the student took it back, and the monitor has not confirmed that yet.
 * `resolved` and `expired` are shown once: a member of the staff closed the request; it closed itself after the student left.
 */
export type HelpPhase = 'none' | 'sending' | 'open' | 'claimed' | 'cancelling' | 'resolved' | 'expired';

export interface IHelpState {
  readonly phase: HelpPhase;
  readonly requestId: string | null;
  /** The name of the person who claimed or resolved it, or null. */
  readonly by: string | null;
}

/** An event of this page. */
export interface IRecentEvent {
  readonly id: string;
  /** The event as it is sent. */
  readonly json: string;
  /** Whether the monitor has refused it, or it was lost. */
  readonly refused: boolean;
}

/** Events that are not recorded at the moment, or were lost lately. */
export interface IRefusal {
  /** A code of docs/operations/refusals.md, or one of a newer release. */
  readonly reason: string;
  /** The course that they name, or null. */
  readonly course: string | null;
  readonly events: number;
  /** None of them is recorded; otherwise only some are not. */
  readonly everything: boolean;
  /** Where the reason is in the events themselves: the id of their notebook, null where they name none. */
  readonly notebook?: string | null;
}

/** The running monitor, for this extension's own widgets and for others' extensions. */
export interface ICellMonitor {
  readonly state: MonitorState;
  readonly help: IHelpState;
  /** Whether what the student does waits because the monitor cannot be reached. */
  readonly waits: boolean;
  /** Events that wait in this browser. */
  readonly queued: number;
  /** Events that were dropped because the queue was full. */
  readonly dropped: number;
  /** What is not recorded at the moment or was lost lately, as far as it concerns the current notebook. */
  readonly refusals: readonly IRefusal[];
  /** The code of what must be changed before events are sent or recorded, or null. */
  readonly problem: string | null;
  /** Whether events that wait are lost with the page. */
  readonly volatile: boolean;
  /** The latest events, newest first. */
  readonly recent: readonly IRecentEvent[];
  /** Emitted when any of these may have changed. */
  readonly changed: ISignal<ICellMonitor, void>;
  /** Emitted when a help request changed, with its state before. */
  readonly helpChanged: ISignal<ICellMonitor, { state: IHelpState; before: IHelpState }>;
  /** Emitted when the monitor rejected the help request, or shows it to nobody any more because it refuses its student. */
  readonly helpRefused: ISignal<ICellMonitor, void>;
  /** Emitted when a request could not be taken back: the monitor refused that, or goes on listing the request. */
  readonly cancelRefused: ISignal<ICellMonitor, void>;
  /** Whether a notebook is open and the monitor is on. */
  readonly canAskForHelp: boolean;
  /** Requests help with the current cell; false when that is not possible now. */
  askForHelp(message: string): boolean;
  /** Cancels the open request. */
  cancelHelp(): void;
  /** Asks the server half at once whether there is a monitor now. */
  reconnect(): Promise<void>;
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
  export const join = 'cell-monitor:join';
}
