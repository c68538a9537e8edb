/** One request in a hundred is traced from here to the dashboard. */
export const SAMPLE_RATIO = 0.01;

/**
 * A new W3C `traceparent`.
 *
 * @param always - mark it as sampled in any case
 */
export function newTraceparent(always: boolean, random: () => number = Math.random): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
  const sampled = always || random() < SAMPLE_RATIO;
  return `00-${hex.slice(0, 32)}-${hex.slice(32)}-${sampled ? '01' : '00'}`;
}
