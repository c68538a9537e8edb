import type { TranslationBundle } from '@jupyterlab/translation';
import type { ICellMonitor } from '../tokens';

/** The monitor's state in a word or two, for the status bar. */
export function statusLabel(monitor: ICellMonitor, trans: TranslationBundle): string {
  switch (monitor.state) {
    case 'recording':
      return trans.__('Monitor: recording');
    case 'saved':
      return trans.__('Monitor: saved locally');
    case 'paused':
      return trans.__('Monitor: paused');
    default:
      return trans.__('Monitor: off');
  }
}

/** The same in a sentence. */
export function statusSentence(monitor: ICellMonitor, trans: TranslationBundle): string {
  switch (monitor.state) {
    case 'recording':
      return trans.__('Your instructors see which cells you run and how they end.');
    case 'saved':
      return trans.__('The monitor cannot be reached. What you do is kept and sent later; you need not do anything.');
    case 'paused':
      return trans.__('Nothing is recorded until you resume. Asking for help still works.');
    default:
      return trans.__('There is no monitor here. Nothing is recorded.');
  }
}
