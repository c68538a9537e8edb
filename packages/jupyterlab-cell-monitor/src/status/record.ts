import type { TranslationBundle } from '@jupyterlab/translation';
import { isolated, readable } from '../events/readable';

/** The longest part of an error's name or of a message that is shown. */
const TEXT_CHARS = 80;

/** What one event says, for the student whose event it is. */
export interface IRecordLine {
  /** When it happened, by this computer's clock; null where the event says none. */
  readonly at: Date | null;
  readonly text: string;
  /** The notebook's file name; empty where there is none to read. */
  readonly notebook: string;
  /** The event as it is sent, indented. */
  readonly raw: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Reads an event's JSON; one that cannot be read still has a line. */
export function recordLine(json: string, trans: TranslationBundle): IRecordLine {
  let event: Fields = {};
  try {
    event = fields(JSON.parse(json));
  } catch {
    return { at: null, text: trans.__('An event that cannot be read'), notebook: '', raw: json };
  }
  const at = new Date(text(event['occurred_at']));
  const path = text(fields(event['notebook'])['path']);
  return {
    at: Number.isNaN(at.getTime()) ? null : at,
    text: sentence(event, trans),
    notebook: readable(path.slice(path.lastIndexOf('/') + 1), TEXT_CHARS),
    raw: JSON.stringify(event, null, 2)
  };
}

function sentence(event: Fields, trans: TranslationBundle): string {
  const data = fields(event['data']);
  const cell = cellIn(event['cell'], trans);
  const count = typeof data['count'] === 'number' ? data['count'] : 1;
  switch (event['type']) {
    case 'cell_execution_started':
      return trans.__('You started %1', cell);
    case 'cell_executed':
      return executed(data, cell, trans);
    case 'cell_selected':
      return trans.__('You went to %1', cell);
    case 'cell_edited':
      return trans.__('You edited %1', cell);
    case 'cell_added':
      return trans._n('You added %1 cell', 'You added %1 cells', count);
    case 'cell_removed':
      return trans._n('You removed %1 cell', 'You removed %1 cells', count);
    case 'notebook_opened':
      return trans.__('You opened the notebook');
    case 'notebook_saved':
      return data['manual'] === true ? trans.__('You saved the notebook') : trans.__('JupyterLab saved the notebook');
    case 'notebook_renamed':
      return data['own'] === false ? trans.__('The notebook was renamed') : trans.__('You renamed the notebook');
    case 'notebook_closed':
      return trans.__('You closed the notebook');
    case 'session_started':
      return trans.__('The recording of this notebook began');
    case 'session_ended':
      return trans.__('The recording of this notebook ended');
    case 'heartbeat':
      return data['visible'] === true
        ? trans.__('The page was open')
        : trans.__('The page was open in the background');
    case 'help_requested':
      return helpRequested(data, trans);
    case 'help_cancelled':
      return trans.__('You took back your help request');
    case 'kernel_connected':
      return trans.__('The page reached the kernel');
    case 'kernel_died':
      return trans.__('The kernel died');
    case 'kernel_restarted':
      return data['reason'] === 'user' ? trans.__('You restarted the kernel') : trans.__('The kernel was restarted');
    default:
      return trans.__('Another event (%1)', isolated(readable(text(event['type']), TEXT_CHARS)));
  }
}

function executed(data: Fields, cell: string, trans: TranslationBundle): string {
  if (data['status'] === 'ok') {
    return trans.__('You ran %1: no error', cell);
  }
  if (data['status'] === 'aborted') {
    return trans.__('You ran %1: it did not run to its end', cell);
  }
  const name = readable(text(fields(data['error'])['name']), TEXT_CHARS);
  return name ? trans.__('You ran %1: %2', cell, isolated(name)) : trans.__('You ran %1: an error', cell);
}

function helpRequested(data: Fields, trans: TranslationBundle): string {
  const message = readable(text(data['message']), TEXT_CHARS);
  return message ? trans.__('You asked for help: %1', isolated(message)) : trans.__('You asked for help');
}

/** The cell as students count them. */
function cellIn(cell: unknown, trans: TranslationBundle): string {
  const index = fields(cell)['index'];
  return typeof index === 'number' ? trans.__('cell %1', index + 1) : trans.__('a cell');
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
