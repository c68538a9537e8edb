import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry, Notification } from '@jupyterlab/apputils';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ServerConnection } from '@jupyterlab/services';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { watchInterrupts } from './capture/interrupts';
import { createHelpButton } from './help/button';
import { helpDialog } from './help/dialog';
import { HELP_ICONS } from './help/icons';
import { isAsking } from './help/model';
import { helpLabel, helpSentence } from './help/wording';
import { joinDialog } from './join/dialog';
import { JoinedName, keepJoinedName } from './status/joined_name';
import type { IMonitorSettings } from './monitor';
import { CellMonitor } from './monitor';
import { translatedSchema } from './settings/schema';
import { statusDialog } from './status/dialog';
import { createStatusItem, needsAction } from './status/item';
import { notificationText, statusLabel } from './status/wording';
import { HttpJoining } from './transport/joining';
import { CommandIDs, DOMAIN, ICellMonitor, isSwitchedOff, PluginIDs } from './tokens';

function readSettings(settings: ISettingRegistry.ISettings | null): IMonitorSettings {
  const course = settings?.get('course').composite;
  return {
    paused: settings?.get('paused').composite === true,
    course: typeof course === 'string' ? course : '',
    traceAll: settings?.get('traceAll').composite === true
  };
}

/** The page's language as a BCP 47 tag; undefined where JupyterLab does not say it. */
function languageOf(translator: ITranslator | null): string | undefined {
  const code = (translator as { languageCode?: unknown } | null)?.languageCode;
  return typeof code === 'string' && code ? code.replace('_', '-') : undefined;
}

/** Records what happens in notebooks; can be paused. */
const monitorPlugin: JupyterFrontEndPlugin<ICellMonitor> = {
  id: PluginIDs.monitor,
  description: 'Sends the runs of cells and their results to the cell monitor.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ISettingRegistry, ITranslator, ICommandPalette],
  provides: ICellMonitor,
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    registry: ISettingRegistry | null,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ): ICellMonitor => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const monitor = new CellMonitor(app, tracker);
    let settings: ISettingRegistry.ISettings | null = null;

    app.commands.addCommand(CommandIDs.togglePause, {
      label: () => (monitor.state === 'paused' ? trans.__('Resume Recording') : trans.__('Pause Recording')),
      caption: trans.__('Pause or resume the recording of what you run'),
      isEnabled: () => !isSwitchedOff(monitor.state),
      execute: async () => {
        const paused = monitor.state !== 'paused';
        monitor.configure({ ...readSettings(settings), paused });
        await settings?.set('paused', paused);
      }
    });
    palette?.addItem({ command: CommandIDs.togglePause, category: trans.__('Cell Monitor') });
    app.commands.commandExecuted.connect((_, args) => {
      if (args.id === 'docmanager:save' || args.id === 'docmanager:save-all') {
        monitor.savedByHand();
      }
    });
    watchInterrupts(app, tracker, kernelId => monitor.interrupted(kernelId));
    monitor.changed.connect(() => app.commands.notifyCommandChanged(CommandIDs.togglePause));
    registry?.transform(PluginIDs.monitor, {
      fetch: plugin => ({ ...plugin, schema: translatedSchema(plugin.schema, trans) })
    });
    // JupyterLab's start does not wait for this. Nothing is recorded until the settings are loaded; when they
    // cannot be loaded, the defaults apply.
    void (registry?.load(PluginIDs.monitor) ?? Promise.resolve(null))
      .catch(() => null)
      .then(loaded => {
        settings = loaded;
        settings?.changed.connect(() => monitor.configure(readSettings(settings)));
        monitor.start(readSettings(settings));
      });
    return monitor;
  }
};

/** The help request: its button, dialog and notifications. */
const helpPlugin: JupyterFrontEndPlugin<void> = {
  id: PluginIDs.help,
  description: 'Adds the "Ask for help" command and notebook toolbar button.',
  autoStart: true,
  requires: [ICellMonitor],
  optional: [ITranslator, IToolbarWidgetRegistry, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    monitor: ICellMonitor,
    translator: ITranslator | null,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    app.commands.addCommand(CommandIDs.askForHelp, {
      label: () => helpLabel(monitor, trans),
      caption: trans.__('Tell your instructor that you need help with this cell'),
      icon: () => HELP_ICONS[monitor.help.phase],
      isEnabled: () => isAsking(monitor.help.phase) || monitor.canAskForHelp,
      execute: () => helpDialog(monitor, trans)
    });
    palette?.addItem({ command: CommandIDs.askForHelp, category: trans.__('Cell Monitor') });
    toolbars?.addFactory('Notebook', 'cellMonitorHelp', () =>
      createHelpButton(monitor, trans, () => void app.commands.execute(CommandIDs.askForHelp))
    );
    monitor.changed.connect(() => app.commands.notifyCommandChanged(CommandIDs.askForHelp));
    monitor.helpChanged.connect((_, { state, before }) => {
      if (state.phase === 'claimed' && before.phase !== 'claimed') {
        Notification.info(helpLabel(monitor, trans), { autoClose: 8000 });
      } else if (state.phase === 'resolved') {
        Notification.success(helpSentence(monitor, trans), { autoClose: 20_000 });
      } else if (state.phase === 'expired') {
        Notification.info(helpSentence(monitor, trans), { autoClose: 20_000 });
      }
    });
    monitor.helpRefused.connect(() => {
      Notification.warning(
        trans.__('Your help request could not be delivered. Please ask your instructor in person.'),
        { autoClose: false }
      );
    });
    monitor.cancelRefused.connect(() => {
      // JupyterLab cuts a notification at 140 characters.
      Notification.warning(
        trans.__('Your help request was not taken back, your instructors may still see it. Try again, or tell them in person.'),
        { autoClose: false }
      );
    });
  }
};

/** Shows the monitor's state in the status bar, which Notebook 7 does not have. */
const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: PluginIDs.status,
  description: 'Shows in the status bar what the cell monitor is doing.',
  autoStart: true,
  requires: [ICellMonitor],
  optional: [ITranslator, IStatusBar, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    monitor: ICellMonitor,
    translator: ITranslator | null,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    app.commands.addCommand(CommandIDs.showStatus, {
      label: trans.__('Show What Is Recorded'),
      execute: () =>
        monitor.state === 'unjoined'
          ? app.commands.execute(CommandIDs.join)
          : statusDialog(monitor, trans, languageOf(translator), async () => {
              await app.commands.execute(CommandIDs.togglePause);
            })
    });
    const { serverSettings } = app.serviceManager;
    const joinAddress = URLExt.join(serverSettings.baseUrl, 'cell-monitor', 'join');
    const joining = new HttpJoining(init => ServerConnection.makeRequest(joinAddress, init, serverSettings));
    const joinedName = new JoinedName();
    if (PageConfig.getOption('cellMonitorCanJoin') === 'true') {
      keepJoinedName(joining, joinedName);
      app.commands.addCommand(CommandIDs.join, {
        label: trans.__('Join a Class'),
        caption: trans.__('Join a class with the code that your instructor shows'),
        execute: () => joinDialog(monitor, joining, joinedName, trans)
      });
      palette?.addItem({ command: CommandIDs.join, category: trans.__('Cell Monitor') });
    }
    palette?.addItem({ command: CommandIDs.showStatus, category: trans.__('Cell Monitor') });
    statusBar?.registerStatusItem(PluginIDs.status, {
      item: createStatusItem(monitor, joinedName, trans, () => void app.commands.execute(CommandIDs.showStatus)),
      align: 'right',
      rank: 90
    });
    // Once for each state and page; where there is no status bar, as in Notebook 7, until it is closed.
    const notified = new Set<string>();
    monitor.changed.connect(() => {
      const label = statusLabel(monitor, trans);
      if (needsAction(monitor) && !notified.has(label)) {
        notified.add(label);
        // JupyterLab cuts a notification at 140 characters, so what to do is in the dialog.
        Notification.warning(notificationText(label, trans), {
          autoClose: statusBar ? 20_000 : false,
          actions: [{ label: trans.__('Details'), callback: () => void app.commands.execute(CommandIDs.showStatus) }]
        });
      }
    });
  }
};

export * from './tokens';

export default [monitorPlugin, helpPlugin, statusPlugin];
