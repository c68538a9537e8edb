import type { Notebook as NotebookWidget, NotebookPanel } from '@jupyterlab/notebook';

/** The views of one notebook. What the student does counts in the one that had the focus last. */
export class NotebookViews {
  add(panel: NotebookPanel): void {
    this._all.add(panel);
    this._current ??= panel;
    const onFocus = (): void => {
      this._current = panel;
    };
    panel.content.node.addEventListener('focusin', onFocus, { passive: true });
  }

  /** A view was closed. Returns how many are left. */
  remove(panel: NotebookPanel): number {
    this._all.delete(panel);
    if (this._current === panel) {
      this._current = [...this._all].pop() ?? null;
    }
    return this._all.size;
  }

  get all(): ReadonlySet<NotebookPanel> {
    return this._all;
  }

  /** The notebook in the view that the student is in. */
  get current(): NotebookWidget | undefined {
    return this._current?.content;
  }

  /** The id of the active cell there. */
  get activeId(): string | undefined {
    return this.current?.activeCell?.model.id;
  }

  private readonly _all = new Set<NotebookPanel>();
  private _current: NotebookPanel | null = null;
}
