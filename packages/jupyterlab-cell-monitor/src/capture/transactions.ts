interface ITransactions {
  on(name: 'beforeObserverCalls' | 'afterTransaction', slot: (transaction: { local: boolean }) => void): void;
}

/** Tells this page's changes of a shared document from those of other people, which come in transactions that are not local. */
export class LocalChanges {
  /** @param sharedModel - the model of the document; one without transactions has changes of this page only */
  constructor(sharedModel: unknown) {
    const { ydoc } = sharedModel as { ydoc?: ITransactions };
    ydoc?.on('beforeObserverCalls', transaction => {
      this._local = transaction.local;
    });
    ydoc?.on('afterTransaction', () => {
      this._local = true;
    });
  }

  /** Whether the change that is being observed was made in this page. */
  get local(): boolean {
    return this._local;
  }

  private _local = true;
}
