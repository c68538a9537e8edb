import type { TranslationBundle } from '@jupyterlab/translation';
import { isolated, readable } from '../events/readable';
import type { ICellMonitor } from '../tokens';

/** The longest part of a name that is shown, on the button and in a sentence. */
const LABEL_NAME_CHARS = 24;
const NAME_CHARS = 60;

/** The name of the person who claimed or resolved the request, for use in a sentence; empty where there is none to read. */
function nameIn(by: string | null, maxChars: number): string {
  const name = readable(by ?? '', maxChars);
  return name && isolated(name);
}

/** The help request in a few words, for the button. */
export function helpLabel(monitor: ICellMonitor, trans: TranslationBundle): string {
  const { phase, by } = monitor.help;
  const name = nameIn(by, LABEL_NAME_CHARS);
  switch (phase) {
    case 'sending':
      return isWaiting(monitor) ? trans.__('Help: not sent yet') : trans.__('Sending…');
    case 'open':
      return trans.__('Help is asked for');
    case 'claimed':
      return name ? trans.__('%1 is on it', name) : trans.__('Somebody is on it');
    case 'cancelling':
      return isWaiting(monitor) ? trans.__('Help: not taken back yet') : trans.__('Taking back…');
    case 'resolved':
      return trans.__('Help: resolved');
    case 'expired':
      return trans.__('Help: closed');
    default:
      return trans.__('Ask for help');
  }
}

/** The help request in a sentence, for the dialog, the tooltip and screen readers. */
export function helpSentence(monitor: ICellMonitor, trans: TranslationBundle): string {
  const { phase, by } = monitor.help;
  const name = nameIn(by, NAME_CHARS);
  switch (phase) {
    case 'sending':
      if (monitor.problem !== null) {
        return trans.__('Your request is kept but cannot be sent now. Please ask your instructor in person.');
      }
      return isWaiting(monitor)
        ? trans.__('The monitor cannot be reached. Your request is kept and goes out as soon as it can.')
        : trans.__('Your request is on its way.');
    case 'open':
      return trans.__('Your instructors see your request. Nobody has taken it yet.');
    case 'claimed':
      return name
        ? trans.__('%1 has seen your request and is on it.', name)
        : trans.__('Your request was seen, somebody is on it.');
    case 'cancelling':
      if (monitor.problem !== null) {
        return trans.__(
          'Your request is not taken back yet: that is kept but cannot be sent now. Please tell your instructor in person.'
        );
      }
      return isWaiting(monitor)
        ? trans.__(
            'The monitor cannot be reached. Your request is taken back as soon as it can; until then your instructors may see it.'
          )
        : trans.__('Your request is being taken back.');
    case 'resolved':
      return name
        ? trans.__('%1 marked your help request as resolved. If you still need help, ask again.', name)
        : trans.__('Your help request was marked as resolved. If you still need help, ask again.');
    case 'expired':
      return trans.__('Your help request was closed because you had left. If you still need help, ask again.');
    default:
      return trans.__('Tell your instructor that you need help with this cell');
  }
}

/** Why a request may not reach the instructors, where waiting does not help; else null. */
export function helpWarning(monitor: ICellMonitor, trans: TranslationBundle): string | null {
  if (monitor.state === 'refused') {
    return trans.__(
      'What you do here is not recorded, and this request may not reach your instructors either. Please ask them in person.'
    );
  }
  return monitor.problem === null
    ? null
    : trans.__('Nothing can be sent now, and waiting does not help. Please ask your instructors in person.');
}

function isWaiting(monitor: ICellMonitor): boolean {
  return monitor.problem !== null || monitor.waits;
}
