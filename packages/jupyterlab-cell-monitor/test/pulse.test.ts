import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HEARTBEAT_MS, Pulse } from '../src/capture/pulse';

/** The times at which a page beats whose timer runs every `periodMs`, for ten minutes. */
function beats(periodMs: number, visible: boolean): number[] {
  const pulse = new Pulse();
  const times = [];
  for (let now = 0; now < 600_000; now += periodMs) {
    if (pulse.due(visible, now)) {
      pulse.beat(now);
      times.push(now);
    }
  }
  return times;
}

const longestPause = (times: number[]): number => Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));

test('a student who reads in another tab is heard of at least once a minute, and not four times', () => {
  assert.equal(longestPause(beats(HEARTBEAT_MS, false)), 45_000);
  // Chrome lets the timers of a hidden page run once a minute.
  assert.equal(longestPause(beats(60_000, false)), 60_000);
  assert.equal(longestPause(beats(HEARTBEAT_MS, true)), HEARTBEAT_MS);
});

test('a clock that was set back does not silence a hidden page', () => {
  const pulse = new Pulse();
  pulse.beat(3_600_000);
  assert.equal(pulse.due(false, 3_600_001), false);
  assert.equal(pulse.due(false, 0), true);
});
