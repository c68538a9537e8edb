import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import type { JoinedName } from './joined_name';
import type { ICellMonitor, MonitorState } from '../tokens';
import { statusText } from './wording';

/** States in which somebody must do something before what the student does is recorded or sent. */
const NEEDS_ACTION: readonly MonitorState[] = ['refused', 'held', 'misconfigured'];

/** Whether the student must be shown the state without looking for it; who never joined a class need not. */
export function needsAction({ state, problem }: Pick<ICellMonitor, 'state' | 'problem'>): boolean {
  return NEEDS_ACTION.includes(state) || problem === 'join_ended';
}

/** The status bar's item: shows the monitor's state and opens the status dialog. */
export function createStatusItem(
  monitor: ICellMonitor,
  joinedName: JoinedName,
  trans: TranslationBundle,
  show: () => void
): ReactWidget {
  const item = (): React.ReactElement => {
    const { label, title } = statusText(monitor, joinedName.value, trans);
    return (
      <button type="button" className={`jp-CellMonitor-status jp-mod-${monitor.state}`} title={title} onClick={show}>
        {label}
      </button>
    );
  };
  const widget = ReactWidget.create(
    <UseSignal signal={joinedName.changed}>{() => <UseSignal signal={monitor.changed}>{item}</UseSignal>}</UseSignal>
  );
  widget.addClass('jp-CellMonitor-statusItem');
  return widget;
}
