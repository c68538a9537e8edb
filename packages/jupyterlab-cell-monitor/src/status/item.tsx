import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import type { ICellMonitor } from '../tokens';
import { statusLabel, statusSentence } from './wording';

/** The status bar's item: shows the monitor's state and opens the status dialog. */
export function createStatusItem(monitor: ICellMonitor, trans: TranslationBundle, show: () => void): ReactWidget {
  const widget = ReactWidget.create(
    <UseSignal signal={monitor.changed}>
      {() => (
        <button
          type="button"
          className={`jp-CellMonitor-status jp-mod-${monitor.state}`}
          title={statusSentence(monitor, trans)}
          onClick={show}
        >
          {statusLabel(monitor, trans)}
        </button>
      )}
    </UseSignal>
  );
  widget.addClass('jp-CellMonitor-statusItem');
  return widget;
}
