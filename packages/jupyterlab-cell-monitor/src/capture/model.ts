import type { ICodeCellModel } from '@jupyterlab/cells';
import { LIMITS } from '../events/types';
import type { IOutputMessage } from './outputs';
import { mayFail } from './request';
import type { IUnseenCell } from './unseen';

/** A code cell of an open notebook as its run is read from it; see `IUnseenCell`. */
export class ModelCell implements IUnseenCell {
  /** @param _kernel - returns the id of the kernel that the notebook has now, or null */
  constructor(
    private readonly _model: ICodeCellModel,
    private readonly _kernel: () => string | null
  ) {}

  get code(): string {
    return this._model.sharedModel.getSource();
  }

  get mayFail(): boolean {
    return mayFail(this._model.sharedModel.getMetadata());
  }

  get executionCount(): number | null {
    return this._model.sharedModel.execution_count ?? null;
  }

  get running(): boolean {
    // JupyterLab 4.2 and older have no such state.
    return (this._model.sharedModel as { executionState?: unknown }).executionState === 'running';
  }

  get outputs(): IOutputMessage[] {
    return this._model.sharedModel
      .getOutputs()
      .slice(0, 2 * LIMITS.outputs)
      .map(output => ({ type: output.output_type, content: output }));
  }

  get startedAt(): string | null {
    return this._time('shell.execute_reply.started') ?? this._time('iopub.execute_input');
  }

  get endedAt(): string | null {
    return this._time('shell.execute_reply') ?? this._time('execution_failed');
  }

  get kernelId(): string | null {
    return this._kernel();
  }

  private _time(key: string): string | null {
    const timing = this._model.sharedModel.getMetadata('execution') as Record<string, unknown> | undefined;
    const value = timing?.[key];
    return typeof value === 'string' ? value : null;
  }
}
