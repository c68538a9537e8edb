import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import type { IReportedRun } from '../src/capture/reports';
import { deathId, endId, RunReports } from '../src/capture/reports';
import type { IKernelMessage } from '../src/capture/request';
import { HANDED_BYTES, OpenRuns } from '../src/queue/open_runs';
import { reference } from './kernel_messages';
import { SharedCell, TrackedPage } from './tracked_page';

const page = new TrackedPage();

beforeEach(() => page.begin());

test('a run is known by the id of its request, by which the server half can name it', () => {
  const run = page.request('cell-1');
  page.kernel.end(run);
  assert.equal(page.finished[0]?.data.execution_id, run);
  const odd: IKernelMessage = { ...page.kernel.message('shell', 'execute_request', {}), metadata: { cellId: 'cell-1' } };
  page.tracker.message({ ...odd, header: { ...odd.header, msg_id: 'no-uuid' } }, 'send');
  page.tracker.kernelGone();
  assert.match(page.finished[1]?.data.execution_id ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

test('the id of an end is that of its start with the last bit inverted, as the server half makes it', () => {
  const run = page.request('cell-1');
  page.input(run);
  page.kernel.end(run);
  page.kernel.end(page.request('cell-2'));
  const [start, end] = page.log.ids as [string, string];
  assert.match(start, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  assert.equal(BigInt(`0x${start.slice(-4)}`) ^ 1n, BigInt(`0x${end.slice(-4)}`));
  assert.equal(start.slice(0, -4), end.slice(0, -4));
  assert.equal(endId('01890000-0000-7000-8000-00000000000f'), '01890000-0000-7000-8000-00000000000e');
  assert.equal(deathId('01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e'), '01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0a');
});

/** A tracker whose runs are handed over, and the runs that wait for it. */
function handing(followed = true): OpenRuns {
  const open = new OpenRuns(page.clock);
  page.handOver(open, followed);
  return open;
}

const handed = (open: OpenRuns): Record<string, unknown>[] => {
  const { json, ids } = open.take(HANDED_BYTES);
  const runs = json ? (JSON.parse(`{${json}"events":[]}`) as { runs: Record<string, unknown>[] }).runs : [];
  assert.deepEqual(ids, runs.map(run => run['execution_id']));
  return runs;
};

test('runs that wait in the kernel when the page is gone are handed over with the ids that their events will have', () => {
  const open = handing();
  const [first, second] = [page.request('cell-1'), page.request('cell-2', 'x', { tags: ['raises-exception'] })];
  page.input(first);
  page.clock.advance(1500);
  page.tracker.handOver();
  const runs = handed(open);
  assert.deepEqual(
    runs.map(run => [run['execution_id'], run['kernel'], run['error_expected'], run['age_ms'], run['server_code']]),
    [
      [first, 'kernel-1', undefined, 1500, undefined],
      [second, 'kernel-1', true, 1500, undefined]
    ]
  );
  // The start that the page made before has the id that it handed over.
  assert.deepEqual(page.log.ids, [runs[0]?.['start_id']]);
});

test('a run whose end the page reports is not handed over any more, and both have the ids made of its start', () => {
  const open = handing();
  const run = page.request('cell-1');
  const [asked] = handed(open);
  open.answered([run], false);
  page.input(run);
  page.kernel.end(run);
  assert.deepEqual(page.log.ids, [asked?.['start_id'], endId(String(asked?.['start_id']))]);
  assert.deepEqual(handed(open), []);
  // One that the kernel skipped has an end of that id, too: the server half may report it as well.
  const skipped = page.request('cell-2');
  const [waiting] = handed(open);
  page.reply(skipped, { status: 'aborted' });
  page.idle(skipped);
  assert.equal(page.log.ids.at(-1), endId(String(waiting?.['start_id'])));
});

test('a run that the server executes is handed over with what its request is known by', () => {
  const open = handing();
  const cell = new SharedCell();
  cell.code = `print('${'語'.repeat(200)}')`;
  page.tracker.scheduled('cell-1', cell);
  assert.deepEqual(handed(open), [], 'the page may send the request itself');
  page.clock.advance(0);
  const [run] = handed(open);
  assert.deepEqual(run?.['server_code'], { head: cell.code.slice(0, 128), bytes: 609 });
  cell.running = true;
  page.tracker.cellChanged('cell-1');
  assert.deepEqual(page.started, [run?.['execution_id']]);
  // A run that no kernel executes is none of the server's.
  cell.kernelId = null;
  page.tracker.scheduled('cell-2', cell);
  page.clock.advance(0);
  assert.deepEqual(handed(open), []);
});

test('what is handed over is what the server half reads', () => {
  const golden = JSON.parse(
    readFileSync(join(__dirname, '../../../../../tests/contract/golden/handed_runs.json'), 'utf8')
  ) as { runs: Record<string, unknown>[] };
  const open = new OpenRuns(page.clock);
  const reports = new RunReports(
    {
      emit: () => null,
      lastAct: Number.NEGATIVE_INFINITY,
      withNames: (cell, callback) =>
        callback(
          {
            session_id: '6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c01',
            seq: 7,
            notebook: { id: 'week1', path: 'week1.ipynb', title: 'week1' },
            course: 'intro'
          },
          cell
        )
    },
    page.clock,
    open
  );
  const [first, second] = golden.runs as [Record<string, string>, Record<string, string>];
  const requested = (
    expected: Record<string, string>,
    run: Pick<IReportedRun, 'cell' | 'code' | 'mayFail'>,
    byServer: boolean
  ): void =>
    reports.requested(
      {
        ...run,
        executionId: expected['execution_id'] as string,
        startId: expected['start_id'] as string,
        queued: false,
        askedTick: 0,
        startedTick: null
      },
      { kernel: first['kernel'] as string, byServer }
    );
  requested(first, { cell: reference('cell-1'), code: '1 / 0', mayFail: true }, false);
  page.clock.advance(500);
  requested(second, { cell: reference('cell-2'), code: "print('語')", mayFail: false }, true);
  page.clock.advance(1000);
  assert.deepEqual(handed(open), golden.runs);
});
