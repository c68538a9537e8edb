import type { JupyterFrontEnd } from '@jupyterlab/application';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ServerConnection } from '@jupyterlab/services';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import { OwnActs } from './capture/acts';
import { isAddressed } from './capture/front';
import { LocalIds, NotebookIdentity } from './capture/identity';
import { Renames } from './capture/renames';
import type { NotebookCapture } from './capture/notebook';
import { Recorder } from './capture/recorder';
import { COURSE_CHARS } from './events/limits';
import { KeptRequest } from './help/kept';
import { HelpModel } from './help/model';
import { HelpSender } from './help/sender';
import { ShownRequests } from './help/shown';
import type { SendLock } from './queue/queue';
import { OpenRuns } from './queue/open_runs';
import { EventQueue } from './queue/queue';
import { IndexedDbStore, OpeningStore } from './queue/store';
import type { IClock } from './runtime/clock';
import { browserClock } from './runtime/clock';
import { FaultGuard } from './runtime/guard';
import { concerning } from './status/concern';
import type { ICellMonitor, IHelpState, IRecentEvent, IRefusal, MonitorState } from './tokens';
import { HttpNotebookIds } from './transport/notebooks';
import { HttpTransport } from './transport/transport';
import { VERSION } from './version';

/** How long the browser may take to open its store before events are kept in memory only. */
const OPEN_TIMEOUT_MS = 5000;

/** The settings of the student or the site. */
export interface IMonitorSettings {
  paused: boolean;
  course: string;
  traceAll: boolean;
}

/** Composes capture, queue, transport and help to the monitor of this page. */
export class CellMonitor implements ICellMonitor {
  constructor(app: JupyterFrontEnd, tracker: INotebookTracker) {
    const guard = new FaultGuard();
    const { serverSettings, contents } = app.serviceManager;
    const clock: IClock = {
      ...browserClock,
      after: (ms, callback) => browserClock.after(ms, guard.wrap(callback))
    };
    const queueName = `cell-monitor:${serverSettings.baseUrl}`;
    this._tracker = tracker;
    // Under this Jupyter server's own address, with its cookie and XSRF token.
    const address = URLExt.join(serverSettings.baseUrl, 'cell-monitor');
    this._transport = new HttpTransport(init => ServerConnection.makeRequest(address, init, serverSettings));
    const takesRuns = PageConfig.getOption('cellMonitorTakesRuns') === 'true';
    const openRuns = takesRuns ? new OpenRuns(clock) : null;
    this._queue = new EventQueue({
      store: new OpeningStore(openStore(queueName), OPEN_TIMEOUT_MS, error => {
        this._storeFailed = true;
        guard.note(error);
      }),
      transport: this._transport,
      clock,
      guard,
      sendLock: sendLock(queueName),
      hidden: () => document.visibilityState === 'hidden',
      ...(openRuns ? { openRuns } : {})
    });
    const localPath = (path: string): string =>
      SERVER_DRIVES.includes(contents.driveName(path)) ? contents.localPath(path) : path;
    const renames = new Renames(clock, localPath);
    contents.fileChanged.connect((_, change) =>
      guard.run(() => {
        if (change.type === 'rename') {
          renames.renamed(change.oldValue?.path, change.newValue?.path);
        }
      })
    );
    this._acts = new OwnActs(clock, document);
    this._recorder = new Recorder(tracker, {
      clock,
      guard,
      followsRuns: PageConfig.getOption('cellMonitorFollowsRuns') === 'true',
      openRuns,
      identity: new NotebookIdentity(
        new HttpNotebookIds(async init =>
          ServerConnection.makeRequest(URLExt.join(address, 'notebooks'), init, serverSettings)
        ),
        new LocalIds(
          localStorageOrNull(),
          `cell-monitor:notebooks:${serverSettings.baseUrl}`,
          `cell-monitor:renames:${serverSettings.baseUrl}`
        )
      ),
      acts: this._acts,
      extensionVersion: VERSION,
      labVersion: app.version,
      queue: this._queue,
      localPath,
      renamedFrom: path => renames.from(path),
      isInFront: widgets => document.visibilityState === 'visible' && widgets.has(app.shell.currentWidget),
      onFrontChanged: callback => app.shell.currentChanged?.connect(callback),
      isAddressed: path => isAddressed(path, addressedPath(localPath), navigationType())
    });
    const storage = localStorageOrNull();
    const storageKey = `cell-monitor:help:${serverSettings.baseUrl}`;
    const kept = new KeptRequest(storage, `${storageKey}:open`, () => clock.now());
    const sender = new HelpSender(
      { current: () => this._subject(), open: notebookId => this._recorder.captureOfId(notebookId) },
      clock,
      this._queue,
      kept
    );
    this._help = new HelpModel(
      {
        request: message => sender.ask(message),
        cancel: (requestId, notice) => sender.cancel(requestId, notice),
        waiting: () => this._queue.queued > 0,
        poll: () => guard.watch(this._queue.poll()),
        refused: () => this.state === 'refused',
        visible: () => document.visibilityState === 'visible'
      },
      clock,
      new ShownRequests(storage, storageKey),
      kept
    );
    this._help.onChange = (state, before) => {
      this._helpChanged.emit({ state, before });
      this._changed.emit();
    };
    this._help.onNotTakenBack = () => this._cancelRefused.emit();
    this._queue.onNotices = (notices, complete) =>
      guard.run(() => this._tellRefused(this._help.notices(notices, complete)));
    this._queue.onRejected = ids => guard.run(() => this._tellRefused(this._help.rejected(ids)));
    this._queue.onDropped = ids => guard.run(() => this._tellRefused(this._help.rejected(ids)));
    this._queue.onChange = () => guard.run(() => this._update());
    this._guard = guard;
  }

  /** Starts recording, unless the settings pause it. */
  start(settings: IMonitorSettings): void {
    this.configure(settings);
    this._recorder.start();
    this._queue.start();
    this._tracker.currentChanged.connect(() => this._changed.emit());
    // Restores a help request that was open before a reload, and detects whether there is a monitor.
    this._guard.watch(this._queue.poll());
  }

  configure(settings: IMonitorSettings): void {
    this._settings = settings;
    this._transport.traceAll = settings.traceAll;
    this._recorder.defaultCourse = defaultCourse(settings);
    this._update();
  }

  get state(): MonitorState {
    if (this._queue.connection === 'off') {
      return offState(this._queue.problem);
    }
    if (this._settings.paused) {
      return 'paused';
    }
    const refusals = this.refusals;
    if (refusals.some(refusal => refusal.everything)) {
      return 'refused';
    }
    if (this._queue.problem !== null) {
      return 'held';
    }
    if (refusals.length > 0) {
      return 'incomplete';
    }
    return this._queue.connection === 'ok' ? 'recording' : 'saved';
  }

  get refusals(): readonly IRefusal[] {
    const capture = this._subject();
    const id = capture?.id ?? null;
    return concerning(this._queue.refusals, capture && id !== null ? { id, course: capture.course } : null);
  }

  get problem(): string | null {
    return this._queue.problem;
  }

  get volatile(): boolean {
    return this._storeFailed || this._queue.volatile;
  }

  get waits(): boolean {
    return this._queue.connection === 'spooled' || this._queue.connection === 'unavailable';
  }

  get help(): IHelpState {
    return this._help.state;
  }

  get queued(): number {
    return this._queue.queued;
  }

  get dropped(): number {
    return this._queue.dropped;
  }

  get recent(): readonly IRecentEvent[] {
    return this._queue.latest;
  }

  get changed(): ISignal<ICellMonitor, void> {
    return this._changed;
  }

  get helpChanged(): ISignal<ICellMonitor, { state: IHelpState; before: IHelpState }> {
    return this._helpChanged;
  }

  get helpRefused(): ISignal<ICellMonitor, void> {
    return this._helpRefused;
  }

  get cancelRefused(): ISignal<ICellMonitor, void> {
    return this._cancelRefused;
  }

  get canAskForHelp(): boolean {
    return this._queue.connection !== 'off' && this._subject() !== null;
  }

  askForHelp(message: string): boolean {
    return this.canAskForHelp && this._help.request(message);
  }

  cancelHelp(): void {
    this._help.cancel();
  }

  async reconnect(): Promise<void> {
    await this._queue.reconnect();
  }

  /** Save commands do not name a notebook: they apply to the current one. A program may carry them out, too. */
  savedByHand(): void {
    if (this._acts.recent()) {
      this._recorder.current?.savedByHand();
    }
  }

  /** Somebody asked for an interrupt of a kernel. */
  interrupted(kernelId: string): void {
    this._recorder.interrupted(kernelId);
  }

  /** The capture of this panel, or null. */
  captureOf(panel: NotebookPanel): NotebookCapture | null {
    return this._recorder.captureOf(panel);
  }

  private _tellRefused(refused: boolean): void {
    if (refused) {
      this._helpRefused.emit();
    }
  }

  private _subject(): NotebookCapture | null {
    return this._recorder.current;
  }

  private _update(): void {
    this._recorder.switch(!this._settings.paused && this._queue.connection !== 'off');
    this._changed.emit();
  }

  private readonly _tracker: INotebookTracker;
  private readonly _guard: FaultGuard;
  private readonly _transport: HttpTransport;
  private readonly _queue: EventQueue;
  private readonly _acts: OwnActs;
  private readonly _recorder: Recorder;
  private readonly _help: HelpModel;
  private _storeFailed = false;
  private _settings: IMonitorSettings = { paused: false, course: '', traceAll: false };
  private readonly _changed = new Signal<ICellMonitor, void>(this);
  private readonly _helpChanged = new Signal<ICellMonitor, { state: IHelpState; before: IHelpState }>(this);
  private readonly _helpRefused = new Signal<ICellMonitor, void>(this);
  private readonly _cancelRefused = new Signal<ICellMonitor, void>(this);
}

/** Why nothing is recorded, by the server half's reason. */
function offState(problem: string | null): MonitorState {
  if (problem === 'not_joined' || problem === 'join_ended') {
    return 'unjoined';
  }
  return problem === null ? 'off' : 'misconfigured';
}

/** The drives whose files are the Jupyter server's own: the default one, and that of jupyter-collaboration. */
const SERVER_DRIVES: readonly string[] = ['', 'RTC'];

/** The path of the file in the page's address, of JupyterLab or of Notebook 7; empty if it has none. */
function addressedPath(localPath: (path: string) => string): string {
  return localPath(PageConfig.getOption('treePath') || PageConfig.getOption('notebookPath'));
}

/** How the page was loaded: `navigate`, `reload`, `back_forward` or `prerender`. */
function navigationType(): string {
  const [entry] = performance.getEntriesByType('navigation');
  return entry ? (entry as PerformanceNavigationTiming).type : '';
}

/** The course that the student's settings name, else the site's; null when neither names one. */
function defaultCourse(settings: IMonitorSettings): string | null {
  const course = settings.course || PageConfig.getOption('cellMonitorCourse');
  return course && course.length <= COURSE_CHARS ? course : null;
}

/** How long a tab waits for another one that is sending; most requests take a few hundredths of a second. */
const LOCK_WAIT_MS = 2000;

/** Lets one tab send at a time, where the browser has locks between tabs. */
function sendLock(name: string): SendLock | undefined {
  // Web Locks exist only in secure contexts: not on plain http beyond localhost.
  const locks = (navigator as { locks?: LockManager }).locks;
  if (!locks) {
    return undefined;
  }
  return async action => {
    const waited = new AbortController();
    const timer = setTimeout(() => waited.abort(), LOCK_WAIT_MS);
    let held = false;
    try {
      await locks.request(name, { signal: waited.signal }, async () => {
        clearTimeout(timer);
        held = true;
        await action();
      });
    } catch (error) {
      if (held || !waited.signal.aborted) {
        throw error;
      }
    } finally {
      clearTimeout(timer);
    }
    return held;
  };
}

function localStorageOrNull(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

async function openStore(name: string): Promise<IndexedDbStore> {
  return IndexedDbStore.open(name);
}
