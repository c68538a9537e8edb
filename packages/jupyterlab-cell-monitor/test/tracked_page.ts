import { RunTracker } from '../src/capture/runs';
import type { IUnseenCell } from '../src/capture/unseen';
import type { Cell, CellExecutedData } from '../src/events/types';
import type { OpenRuns } from '../src/queue/open_runs';
import { StillClock } from './clock';
import { cells, Kernel, RunLog } from './kernel_messages';

/** A page whose runs are tracked, its clock, and the kernel whose messages a test gives it. */
export class TrackedPage {
  constructor() {
    this.begin();
  }

  clock!: StillClock;
  log!: RunLog;
  tracker!: RunTracker;
  kernel!: Kernel;

  /** Start again, as a page that has just been opened. */
  begin(): void {
    this.clock = new StillClock();
    this.log = new RunLog();
    this.track(new RunTracker(cells, this.log, this.clock, false));
  }

  /** Go on with another tracker, whose kernel has answered the page. */
  track(tracker: RunTracker): void {
    this.tracker = tracker;
    tracker.answered();
    this.kernel = new Kernel(tracker, this.clock);
  }

  /** Go on with a tracker whose runs are handed over to the server half. */
  handOver(open: OpenRuns, followed: boolean): void {
    this.track(new RunTracker(cells, this.log, this.clock, followed, () => true, open, () => 'kernel-1'));
  }

  /** Ids of the runs that began, in the order of their events. */
  get started(): string[] {
    return this.log.started;
  }

  get finished(): { cell: Cell; data: CellExecutedData }[] {
    return this.log.finished;
  }

  /** Status and name of the error of each run that ended. */
  ends(): unknown[] {
    return this.finished.map(({ data }) => [data.status, data.error?.name]);
  }

  request(cellId: string, code?: string, metadata?: Record<string, unknown>): string {
    return this.kernel.request(cellId, code, metadata);
  }

  receive(...args: Parameters<Kernel['message']>): void {
    this.kernel.receive(...args);
  }

  input(run: string, count?: number): void {
    this.kernel.input(run, count);
  }

  idle(run: string): void {
    this.kernel.idle(run);
  }

  reply(run: string, content: Record<string, unknown>, metadata = {}): void {
    this.kernel.reply(run, content, metadata);
  }
}

/** A cell in the notebook's model, as the server changes it. */
export class SharedCell implements IUnseenCell {
  code = 'remote()';
  mayFail = false;
  executionCount: number | null = null;
  running = false;
  outputs: IUnseenCell['outputs'] = [];
  startedAt = null;
  endedAt = null;
  kernelId: string | null = 'kernel-1';
}
