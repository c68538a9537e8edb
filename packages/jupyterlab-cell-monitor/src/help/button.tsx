import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { ToolbarButtonComponent } from '@jupyterlab/ui-components';
import * as React from 'react';
import type { ICellMonitor } from '../tokens';
import { isSwitchedOff } from '../tokens';
import { HELP_ICONS } from './icons';
import { isAsking } from './model';
import { helpLabel, helpSentence } from './wording';

/** The notebook toolbar's button: requests help, and shows the state of the request. */
export function createHelpButton(monitor: ICellMonitor, trans: TranslationBundle, ask: () => void): ReactWidget {
  const widget = ReactWidget.create(
    <UseSignal signal={monitor.changed}>
      {() => {
        const { phase } = monitor.help;
        // Without a monitor there is no button.
        return isSwitchedOff(monitor.state) ? null : (
          <>
            <ToolbarButtonComponent
              className={`jp-CellMonitor-help jp-mod-${phase}`}
              icon={HELP_ICONS[phase]}
              label={helpLabel(monitor, trans)}
              tooltip={helpSentence(monitor, trans)}
              pressed={isAsking(phase)}
              onClick={ask}
            />
            {/* Screen readers do not announce a changed label, but this region. */}
            <span className="jp-CellMonitor-announcement" role="status" aria-live="polite">
              {phase === 'none' ? '' : helpSentence(monitor, trans)}
            </span>
          </>
        );
      }}
    </UseSignal>
  );
  widget.addClass('jp-CellMonitor-helpItem');
  return widget;
}
