import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HEARTBEAT_MS, HeartbeatSchedule } from '../src/capture/heartbeat';

/** The times of the heartbeats within ten minutes of a page whose timer runs every `periodMs`. */
function heartbeats(periodMs: number, visible: boolean): number[] {
  const schedule = new HeartbeatSchedule();
  const times = [];
  for (let now = 0; now < 600_000; now += periodMs) {
    if (schedule.due(visible, now)) {
      schedule.sent(now);
      times.push(now);
    }
  }
  return times;
}

const longestPause = (times: number[]): number => Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));

test('a hidden page sends a heartbeat at least once a minute, and not four times', () => {
  assert.equal(longestPause(heartbeats(HEARTBEAT_MS, false)), 45_000);
  // Chrome runs the timers of a hidden page once a minute.
  assert.equal(longestPause(heartbeats(60_000, false)), 60_000);
  assert.equal(longestPause(heartbeats(HEARTBEAT_MS, true)), HEARTBEAT_MS);
});

test('a clock that was set back does not stop the heartbeats of a hidden page', () => {
  const schedule = new HeartbeatSchedule();
  schedule.sent(3_600_000);
  assert.equal(schedule.due(false, 3_600_001), false);
  assert.equal(schedule.due(false, 0), true);
});
