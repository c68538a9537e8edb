import { capBytes, capChars, joinedText, storableText, withoutEscapes } from '../events/text';
import type { ExecutionError } from '../events/types';
import { LIMITS } from '../events/types';

/** The error of an `error` output, an `error` message or an `execute_reply`, cut to what an event may hold. */
export function errorOf(parts: { name: unknown; value: unknown; traceback: unknown }): ExecutionError {
  const lines = parts.traceback;
  const raw = Array.isArray(lines) ? lines.filter(line => typeof line === 'string').join('\n') : joinedText(lines);
  const value = capBytes(storableText(withoutEscapes(joinedText(parts.value))), LIMITS.errorValue);
  const traceback = capTraceback(storableText(withoutEscapes(raw)));
  const truncated = value.truncated || traceback.truncated;
  return {
    name: capChars(storableText(joinedText(parts.name)), LIMITS.errorName) || 'Error',
    value: value.text,
    traceback: traceback.text,
    ...(truncated ? { truncated } : {})
  };
}

/** The error in the content of a message or a stored output; see `errorOf`. */
export function errorIn(content: Readonly<Record<string, unknown>>): ExecutionError {
  return errorOf({ name: content['ename'], value: content['evalue'], traceback: content['traceback'] });
}

/** Cuts the middle of a traceback: of a deep recursion both ends are needed. */
function capTraceback(text: string): { text: string; truncated: boolean } {
  const whole = capBytes(text, LIMITS.traceback);
  if (!whole.truncated) {
    return whole;
  }
  const half = LIMITS.traceback / 2 - 8;
  const head = capBytes(text, half).text;
  // The tail in characters may have up to three times as many bytes: shorten it until it fits.
  let tail = text.slice(-half);
  while (capBytes(tail, half).truncated) {
    tail = tail.slice(Math.ceil(tail.length / 4));
  }
  return { text: `${head}\n…\n${storableText(tail)}`, truncated: true };
}
