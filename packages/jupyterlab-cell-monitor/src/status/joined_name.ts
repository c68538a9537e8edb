import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

/** The name under which this computer joined a class, as its roster has it; empty where it joined none. */
export class JoinedName {
  get value(): string {
    return this._value;
  }

  set value(name: string) {
    if (name !== this._value) {
      this._value = name;
      this._changed.emit();
    }
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  private _value = '';
  private readonly _changed = new Signal<this, void>(this);
}
