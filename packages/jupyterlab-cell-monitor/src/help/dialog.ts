import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { LIMITS } from '../events/types';
import type { ICellMonitor } from '../tokens';
import { isAsking } from './model';
import { helpSentence, helpWarning } from './wording';

/** The body of the dialog: an optional message for the instructor. */
class MessageBody extends Widget implements Dialog.IBodyWidget<string> {
  constructor(monitor: ICellMonitor, trans: TranslationBundle) {
    super();
    this.addClass('jp-CellMonitor-helpBody');
    const warned = helpWarning(monitor, trans);
    const hint = document.createElement('p');
    hint.id = 'jp-CellMonitor-helpHint';
    hint.className = warned ? 'jp-CellMonitor-warning' : '';
    hint.textContent =
      warned ??
      (monitor.help.phase === 'cancelling' ? helpSentence(monitor, trans) : null) ??
      trans.__('Your instructor will see your name, this notebook and the cell you are in.');
    const label = document.createElement('label');
    label.htmlFor = 'jp-CellMonitor-helpMessage';
    label.textContent = trans.__('What is the problem? (optional)');
    this._area.id = 'jp-CellMonitor-helpMessage';
    this._area.className = 'jp-mod-styled';
    this._area.maxLength = LIMITS.message;
    this._area.rows = 4;
    this._area.setAttribute('aria-describedby', hint.id);
    this.node.append(hint, label, this._area);
  }

  getValue(): string {
    return this._area.value;
  }

  private readonly _area = document.createElement('textarea');
}

/** Requests help with an optional message; or shows the open request, which can be cancelled. */
export async function helpDialog(monitor: ICellMonitor, trans: TranslationBundle): Promise<void> {
  if (isAsking(monitor.help.phase)) {
    const result = await showDialog({
      title: trans.__('Your help request'),
      body: helpSentence(monitor, trans),
      buttons: [
        Dialog.cancelButton({ label: trans.__('Close') }),
        Dialog.warnButton({ label: trans.__('I no longer need help') })
      ],
      defaultButton: 0
    });
    if (result.button.accept) {
      monitor.cancelHelp();
    }
    return;
  }
  const result = await showDialog<string>({
    title: trans.__('Ask for help'),
    body: new MessageBody(monitor, trans),
    buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Ask for help') })],
    focusNodeSelector: 'textarea'
  });
  if (result.button.accept) {
    monitor.askForHelp(result.value ?? '');
  }
}
