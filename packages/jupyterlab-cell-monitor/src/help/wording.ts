import type { TranslationBundle } from '@jupyterlab/translation';
import type { ICellMonitor } from '../tokens';

/** The help request in a few words, for the button. */
export function helpLabel(monitor: ICellMonitor, trans: TranslationBundle): string {
  const { phase, by } = monitor.help;
  switch (phase) {
    case 'sending':
      return monitor.state === 'saved' ? trans.__('Help: not sent yet') : trans.__('Sending…');
    case 'open':
      return trans.__('Help is asked for');
    case 'claimed':
      return by ? trans.__('%1 is on it', by) : trans.__('Somebody is on it');
    default:
      return trans.__('Ask for help');
  }
}

/** The help request in a sentence, for the dialog, the tooltip and screen readers. */
export function helpSentence(monitor: ICellMonitor, trans: TranslationBundle): string {
  const { phase, by } = monitor.help;
  switch (phase) {
    case 'sending':
      return monitor.state === 'saved'
        ? trans.__('The monitor cannot be reached. Your request is kept and goes out as soon as it can.')
        : trans.__('Your request is on its way.');
    case 'open':
      return trans.__('Your instructors see your request. Nobody has taken it yet.');
    case 'claimed':
      return by
        ? trans.__('%1 has seen your request and is on it.', by)
        : trans.__('Your request was seen, somebody is on it.');
    default:
      return trans.__('Tell your instructor that you need help with this cell');
  }
}
