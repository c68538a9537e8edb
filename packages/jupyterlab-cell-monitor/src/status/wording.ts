import type { TranslationBundle } from '@jupyterlab/translation';
import { isolated, readable } from '../events/readable';
import { isSwitchedOff } from '../tokens';
import type { ICellMonitor, IRefusal } from '../tokens';
import { JOIN_CHARS } from '../transport/joining';

/** Of a name in the status bar, which has little space. */
const LABEL_CHARS = 20;

/** The monitor's state in a few words, for the status bar. */
export function statusLabel(monitor: ICellMonitor, trans: TranslationBundle): string {
  switch (monitor.state) {
    case 'recording':
      return trans.__('Monitor: recording');
    case 'incomplete':
      return trans.__('Monitor: not everything recorded');
    case 'saved':
      return trans.__('Monitor: saved locally');
    case 'held':
      return trans.__('Monitor: saved, not sent');
    case 'refused':
      return refusedLabel(refusalOf(monitor), trans);
    case 'paused':
      return trans.__('Monitor: paused');
    case 'misconfigured':
      return trans.__('Monitor: not set up');
    case 'unjoined':
      return trans.__('Monitor: join a class');
    default:
      return trans.__('Monitor: off');
  }
}

/**
 * What the status bar shows, and its tooltip: the state, and the name under which a computer joined a class, as the
 * class's staff sees it. `name` is empty of a computer that joined none.
 */
export function statusText(
  monitor: ICellMonitor,
  name: string,
  trans: TranslationBundle
): { label: string; title: string } {
  const label = statusLabel(monitor, trans);
  const sentence = statusSentence(monitor, trans);
  if (name === '' || isSwitchedOff(monitor.state)) {
    return { label, title: sentence };
  }
  const seen = trans.__('Your instructors see you as %1.', isolated(readable(name, JOIN_CHARS.name)));
  return { label: `${label} · ${isolated(readable(name, LABEL_CHARS))}`, title: `${sentence}\n${seen}` };
}

/** The notification that a state needs somebody to act; its label may end with a question mark. */
export function notificationText(label: string, trans: TranslationBundle): string {
  return trans.__('%1 (the details say what to do)', label);
}

/** The same in a sentence or two: what is so, and what to do about it. */
export function statusSentence(monitor: ICellMonitor, trans: TranslationBundle): string {
  switch (monitor.state) {
    case 'recording':
      return trans.__('Your instructors see which cells you run and how they end.');
    case 'incomplete':
    case 'refused':
      return refusalSentence(refusalOf(monitor), trans);
    case 'saved':
      return trans.__('The monitor cannot be reached. What you do is kept and sent later; you need not do anything.');
    case 'held':
      return monitor.problem === 'signed_out'
        ? trans.__('What you do is kept, but your Jupyter session has ended. Sign in to Jupyter again.')
        : trans.__(
            'What you do is kept but not sent: the connection to the monitor is set up wrongly. Tell your instructor or the person who runs your JupyterLab.'
          );
    case 'paused':
      return trans.__('Nothing is recorded until you resume. Asking for help still works.');
    case 'misconfigured':
      return trans.__(
        'Nothing is recorded: the connection to the monitor is not set up completely. Tell your instructor or the person who runs your JupyterLab.'
      );
    case 'unjoined':
      return monitor.problem === 'join_ended'
        ? trans.__(
            'Nothing is recorded: you were removed from the class, or its joining was ended. To join again, ask your instructor for the code.'
          )
        : trans.__('Nothing is recorded. To join a class, click here and enter the code that your instructor shows.');
    default:
      return trans.__('There is no monitor here. Nothing is recorded.');
  }
}

/** The refusal that the state is about: one of everything before one of some. */
export function refusalOf(monitor: ICellMonitor): IRefusal | undefined {
  return monitor.refusals.find(refusal => refusal.everything) ?? monitor.refusals[0];
}

function refusedLabel(refusal: IRefusal | undefined, trans: TranslationBundle): string {
  switch (refusal?.reason) {
    case 'course_required':
      return trans.__('Not recorded: which course?');
    case 'no_course':
      return trans.__('Not recorded: you are in no course');
    case 'course_forbidden':
      return trans.__('Not recorded: you are not in this course');
    default:
      return trans.__('Monitor: nothing recorded');
  }
}

/** What is not recorded and why, and what to do about it. */
export function refusalSentence(refusal: IRefusal | undefined, trans: TranslationBundle): string {
  switch (refusal?.reason) {
    case 'course_required':
      return trans.__(
        'Nothing you do in this notebook is recorded: you are in several courses and the notebook does not say which one it belongs to. Enter the course in Settings → Cell Monitor → Course, or tell your instructor.'
      );
    case 'no_course':
      return trans.__(
        'Nothing you do here is recorded: you are not on the roster of any course. Ask your instructor to add you to the course.'
      );
    case 'course_forbidden':
      return trans.__(
        'Nothing you do in this notebook is recorded: you are not on the roster of the course that it belongs to. Ask your instructor to add you to the course, or to correct the course of the notebook.'
      );
    case 'unsupported_schema_version':
      return trans.__(
        'What you do is not recorded: the version of the monitor in this page is too old. Reload the page. If that does not help, tell the person who runs your JupyterLab.'
      );
    case 'spool_full':
    case 'queue_full':
      return trans.__(
        'Some of what you did is lost: the monitor could not be reached for so long that the oldest part was deleted.'
      );
    default:
      return refusal?.everything
        ? trans.__(
            'Nothing you do here is recorded: the monitor cannot read it. Tell the person who runs your JupyterLab.'
          )
        : trans.__(
            'Some of what you do is not recorded: the monitor cannot read it. Tell the person who runs your JupyterLab.'
          );
  }
}
