import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { isolated, readable } from '../events/readable';
import { COURSE_CHARS } from '../events/limits';
import type { ICellMonitor, IRefusal } from '../tokens';
import { isSwitchedOff } from '../tokens';
import { recordLine } from './record';
import { refusalOf, refusalSentence, statusSentence } from './wording';

/** The monitor's state and what to do about it, the size of the queue, and what was recorded, in sentences. */
class StatusBody extends Widget {
  /** @param language - of times, as a BCP 47 tag; undefined for the browser's */
  constructor(
    private readonly _monitor: ICellMonitor,
    private readonly _trans: TranslationBundle,
    language: string | undefined
  ) {
    super();
    this._time = timeFormat(language);
    this.addClass('jp-CellMonitor-statusBody');
    this._state.setAttribute('role', 'status');
    const heading = document.createElement('h3');
    heading.id = 'jp-CellMonitor-recordHeading';
    heading.textContent = _trans.__('The latest events');
    const list = this._list(heading.id);
    const details = document.createElement('details');
    const summary = document.createElement('summary');
    summary.textContent = _trans.__('The same as it is sent');
    const raw = document.createElement('pre');
    raw.tabIndex = 0;
    raw.textContent = this._lines.map(line => line.raw).join('\n\n') || _trans.__('None yet.');
    details.append(summary, raw);
    this.node.append(this._state, heading, list, details);
    this._show();
    _monitor.changed.connect(this._show, this);
  }

  override dispose(): void {
    this._monitor.changed.disconnect(this._show, this);
    super.dispose();
  }

  private _show(): void {
    const { _monitor: monitor, _trans: trans } = this;
    const lines = [statusSentence(monitor, trans)];
    // The refusal that the sentence of the state is about.
    const shown = monitor.state === 'refused' || monitor.state === 'incomplete' ? refusalOf(monitor) : null;
    if (shown) {
      lines.push(...courseLine(shown, trans));
    }
    for (const refusal of monitor.refusals) {
      if (refusal !== shown) {
        lines.push(refusalSentence(refusal, trans));
      }
      lines.push(trans._n('%1 event was not recorded.', '%1 events were not recorded.', refusal.events));
    }
    if (monitor.queued > 0) {
      lines.push(trans._n('%1 event waits to be sent.', '%1 events wait to be sent.', monitor.queued));
    }
    if (monitor.dropped > 0) {
      lines.push(
        trans._n(
          '%1 event was dropped because too many were waiting.',
          '%1 events were dropped because too many were waiting.',
          monitor.dropped
        )
      );
    }
    if (monitor.volatile && monitor.state !== 'off') {
      lines.push(
        trans.__('This browser does not keep what waits to be sent: it is lost if you close the page before.')
      );
    }
    this._state.replaceChildren(
      ...lines.map(line => {
        const paragraph = document.createElement('p');
        paragraph.textContent = line;
        return paragraph;
      })
    );
  }

  private _list(labelledBy: string): HTMLElement {
    if (this._lines.length === 0) {
      const none = document.createElement('p');
      none.textContent = this._trans.__('None yet.');
      return none;
    }
    const list = document.createElement('ul');
    list.className = 'jp-CellMonitor-record';
    list.setAttribute('aria-labelledby', labelledBy);
    // It scrolls: the keyboard must reach it.
    list.tabIndex = 0;
    for (const line of this._lines) {
      const item = document.createElement('li');
      const time = document.createElement('time');
      time.textContent = line.at ? this._time.format(line.at) : '';
      const what = document.createElement('span');
      what.textContent = line.text;
      const notebook = document.createElement('bdi');
      notebook.textContent = line.notebook;
      item.append(time, ' ', what, ' ', notebook);
      if (line.refused) {
        const refused = document.createElement('em');
        refused.textContent = this._trans.__('not recorded');
        item.append(' ', refused);
      }
      list.append(item);
    }
    return list;
  }

  private readonly _time: Intl.DateTimeFormat;
  private readonly _lines = this._monitor.recent.map(({ json, refused }) => ({
    ...recordLine(json, this._trans),
    refused
  }));
  private readonly _state = document.createElement('div');
}

function courseLine(refusal: IRefusal, trans: TranslationBundle): string[] {
  const course = readable(refusal.course ?? '', COURSE_CHARS);
  return course ? [trans.__('The course that the notebook names: %1', isolated(course))] : [];
}

function timeFormat(language: string | undefined): Intl.DateTimeFormat {
  const options = { hour: '2-digit', minute: '2-digit', second: '2-digit' } as const;
  try {
    return new Intl.DateTimeFormat(language, options);
  } catch {
    // JupyterLab takes any text for a language.
    return new Intl.DateTimeFormat(undefined, options);
  }
}

/** Shows the status; `togglePause` is called when the student presses that button. */
export async function statusDialog(
  monitor: ICellMonitor,
  trans: TranslationBundle,
  language: string | undefined,
  togglePause: () => Promise<void>
): Promise<void> {
  const paused = monitor.state === 'paused';
  const buttons = [Dialog.okButton({ label: trans.__('Close') })];
  if (!isSwitchedOff(monitor.state)) {
    buttons.unshift(
      Dialog.createButton({
        label: paused ? trans.__('Resume recording') : trans.__('Pause recording'),
        actions: ['toggle-pause']
      })
    );
  }
  const result = await showDialog({
    title: trans.__('Cell monitor'),
    body: new StatusBody(monitor, trans, language),
    buttons,
    defaultButton: buttons.length - 1
  });
  if (result.button.actions.includes('toggle-pause')) {
    await togglePause();
  }
}
