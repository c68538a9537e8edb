import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { INotebookTracker } from '@jupyterlab/notebook';

/** The schema of what Jupyter Server publishes of its kernels. */
const KERNEL_ACTIONS = 'https://events.jupyter.org/jupyter_server/kernel_actions/v1';

const INTERRUPT_COMMAND = 'notebook:interrupt-kernel';

/** The kernel that an event of the Jupyter server says was interrupted, or null. */
export function interruptedKernel(event: Readonly<Record<string, unknown>>): string | null {
  const { schema_id: schema, action, status, kernel_id: kernel } = event;
  const isInterrupt = schema === KERNEL_ACTIONS && action === 'interrupt' && status !== 'error';
  return isInterrupt && typeof kernel === 'string' ? kernel : null;
}

/**
 * Calls back with the id of each kernel that somebody asks to interrupt: by this page's command, before its request is
 * answered, and by any client of the server, as the server publishes it. An interrupt that is a message of the kernel's
 * own protocol is among its messages (`newsOf`).
 */
export function watchInterrupts(
  app: JupyterFrontEnd,
  tracker: INotebookTracker,
  interrupted: (kernelId: string) => void
): void {
  app.commands.commandExecuted.connect((_, { id }) => {
    const kernel = tracker.currentWidget?.sessionContext.session?.kernel?.id;
    if (id === INTERRUPT_COMMAND && kernel !== undefined) {
      interrupted(kernel);
    }
  });
  app.serviceManager.events.stream.connect((_, event) => {
    const kernel = interruptedKernel(event);
    if (kernel !== null) {
      interrupted(kernel);
    }
  });
}
