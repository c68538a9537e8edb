import { LabIcon } from '@jupyterlab/ui-components';
import type { HelpPhase } from '../tokens';

function icon(name: string, path: string): LabIcon {
  return new LabIcon({
    name: `cell-monitor:${name}`,
    svgstr:
      '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">' +
      `<path class="jp-icon3" fill="#616161" fill-rule="evenodd" d="${path}"/></svg>`
  });
}

/** A raised hand. */
export const helpIcon = icon(
  'help',
  'M12 2a1.5 1.5 0 0 0-1.5 1.5V11h-1V5a1.5 1.5 0 0 0-3 0v9.2l-1.9-2' +
    'a1.6 1.6 0 0 0-2.3-.1 1.5 1.5 0 0 0-.1 2.1l4.9 6A5 5 0 0 0 11 22h3.5a5.5 5.5 0 0 0 5.5-5.5V7' +
    'a1.5 1.5 0 0 0-3 0v4h-1V4.5a1.5 1.5 0 0 0-3 0V11h-.5V3.5A1.5 1.5 0 0 0 12 2z'
);

/** A clock: the request waits. */
const waitingIcon = icon(
  'help-waiting',
  'M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm0 2.5a7.5 7.5 0 1 1 0 15 7.5 7.5 0 0 1 0-15zM11 7h2v4.6l3.2 3.2-1.4 1.4L11 12.4z'
);

/** A person. */
const claimedIcon = icon('help-claimed', 'M12 3a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM3.5 21a8.5 7.5 0 0 1 17 0z');

/** A check mark in a disc. */
const resolvedIcon = icon(
  'help-resolved',
  'M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm5.4 6.2 1.5 1.5-8.4 8.4-4.9-4.9 1.5-1.5 3.4 3.4z'
);

/** A cross in a disc. */
const closedIcon = icon(
  'help-closed',
  'M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zM8.5 7 12 10.5 15.5 7 17 8.5 13.5 12l3.5 3.5-1.5 1.5-3.5-3.5L8.5 17 7 15.5l3.5-3.5L7 8.5z'
);

/** The icon of each phase: no two phases that follow each other look the same without colours. */
export const HELP_ICONS: Readonly<Record<HelpPhase, LabIcon>> = {
  none: helpIcon,
  sending: waitingIcon,
  open: waitingIcon,
  claimed: claimedIcon,
  cancelling: closedIcon,
  resolved: resolvedIcon,
  expired: closedIcon
};
