import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon, ToolbarButtonComponent } from '@jupyterlab/ui-components';
import * as React from 'react';
import type { ICellMonitor } from '../tokens';
import { helpLabel, helpSentence } from './wording';

/** A raised hand. */
export const helpIcon = new LabIcon({
  name: 'cell-monitor:help',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M12 2a1.5 1.5 0 0 0-1.5 1.5V11h-1V5a1.5 1.5 0 0 0-3 0v9.2l-1.9-2' +
    'a1.6 1.6 0 0 0-2.3-.1 1.5 1.5 0 0 0-.1 2.1l4.9 6A5 5 0 0 0 11 22h3.5a5.5 5.5 0 0 0 5.5-5.5V7' +
    'a1.5 1.5 0 0 0-3 0v4h-1V4.5a1.5 1.5 0 0 0-3 0V11h-.5V3.5A1.5 1.5 0 0 0 12 2z"/></svg>'
});

/** The notebook toolbar's button: requests help, and shows the state of the request. */
export function createHelpButton(monitor: ICellMonitor, trans: TranslationBundle, ask: () => void): ReactWidget {
  const widget = ReactWidget.create(
    <UseSignal signal={monitor.changed}>
      {() =>
        // Without a monitor there is no button.
        monitor.state === 'off' ? null : (
          <>
            <ToolbarButtonComponent
              className={`jp-CellMonitor-help jp-mod-${monitor.help.phase}`}
              icon={helpIcon}
              label={helpLabel(monitor, trans)}
              tooltip={helpSentence(monitor, trans)}
              onClick={ask}
            />
            {/* Screen readers do not announce a changed label, but this region. */}
            <span className="jp-CellMonitor-announcement" role="status" aria-live="polite">
              {monitor.help.phase === 'none' ? '' : helpSentence(monitor, trans)}
            </span>
          </>
        )
      }
    </UseSignal>
  );
  widget.addClass('jp-CellMonitor-helpItem');
  return widget;
}
