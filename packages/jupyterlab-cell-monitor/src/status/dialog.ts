import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import type { ICellMonitor } from '../tokens';
import { statusSentence } from './wording';

/** The monitor's state, the size of the queue, and the latest events as JSON. */
class StatusBody extends Widget {
  constructor(monitor: ICellMonitor, trans: TranslationBundle) {
    super();
    this.addClass('jp-CellMonitor-statusBody');
    this._line(statusSentence(monitor, trans));
    if (monitor.queued > 0) {
      this._line(trans._n('%1 event waits to be sent.', '%1 events wait to be sent.', monitor.queued));
    }
    if (monitor.dropped > 0) {
      this._line(
        trans._n(
          '%1 event was dropped because too many were waiting.',
          '%1 events were dropped because too many were waiting.',
          monitor.dropped
        )
      );
    }
    const details = document.createElement('details');
    const summary = document.createElement('summary');
    summary.textContent = trans.__('The latest recorded events');
    const list = document.createElement('pre');
    list.tabIndex = 0;
    list.textContent =
      monitor.recent.map(json => JSON.stringify(JSON.parse(json), null, 2)).join('\n\n') || trans.__('None yet.');
    details.append(summary, list);
    this.node.append(details);
  }

  private _line(text: string): void {
    const line = document.createElement('p');
    line.textContent = text;
    this.node.append(line);
  }
}

/** Shows the status; `togglePause` is called when the student presses that button. */
export async function statusDialog(
  monitor: ICellMonitor,
  trans: TranslationBundle,
  togglePause: () => Promise<void>
): Promise<void> {
  const paused = monitor.state === 'paused';
  const buttons = [Dialog.okButton({ label: trans.__('Close') })];
  if (monitor.state !== 'off') {
    buttons.unshift(
      Dialog.createButton({
        label: paused ? trans.__('Resume recording') : trans.__('Pause recording'),
        actions: ['toggle-pause']
      })
    );
  }
  const result = await showDialog({
    title: trans.__('Cell monitor'),
    body: new StatusBody(monitor, trans),
    buttons,
    defaultButton: buttons.length - 1
  });
  if (result.button.actions.includes('toggle-pause')) {
    await togglePause();
  }
}
