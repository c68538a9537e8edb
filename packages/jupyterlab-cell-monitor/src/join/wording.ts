import type { TranslationBundle } from '@jupyterlab/translation';
import { isolated, readable } from '../events/readable';
import { JOIN_CHARS } from '../transport/joining';
import type { IJoinState, JoinResult } from '../transport/joining';

const TITLE_CHARS = 200;

/** That the student joined; and under which name, where it is not the one that they entered now. */
export function joinedSentence({ title, name, nameKept }: IJoinState, trans: TranslationBundle): string {
  const course = isolated(readable(title, TITLE_CHARS));
  return nameKept
    ? trans.__(
        'You joined %1. This computer had joined before as %2, and that name was kept.',
        course,
        isolated(readable(name, JOIN_CHARS.name))
      )
    : trans.__('You joined %1.', course);
}

/** Why joining failed, and what to do about it. */
export function joinFault(result: Extract<JoinResult, { kind: 'refused' }>, trans: TranslationBundle): string {
  switch (result.reason) {
    case 'invalid_join_code':
      return trans.__('This code is wrong or not valid any more. Compare it with the one that your instructor shows.');
    case 'invalid_name':
      return trans.__('Enter your name, with at most 60 characters.');
    case 'invalid_address':
      return trans.__('This is no address. It looks like http://192.168.7.5:8900.');
    case 'not_a_monitor':
      return trans.__('There is no cell monitor at this address. Compare it with the one that your instructor shows.');
    case 'course_full':
      return trans.__('No more people can join with this code. Tell your instructor.');
    case 'rate_limited':
      return trans._n(
        'Too many wrong codes were tried. Ask your instructor for a new code, or try again in %1 second.',
        'Too many wrong codes were tried. Ask your instructor for a new code, or try again in %1 seconds.',
        Math.max(1, result.retryAfterS)
      );
    case 'storage_unavailable':
      return trans.__('Your Jupyter server cannot store anything. Tell the person who runs your JupyterLab.');
    case 'monitor_unreachable':
      return trans.__(
        'The computer at this address does not answer. Check that you are in the same network, and compare the address.'
      );
    default:
      return trans.__('Joining failed. Reload the page and try again.');
  }
}
