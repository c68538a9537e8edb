import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';
import type { HttpJoining } from '../transport/joining';

/** The server half receives another name with its next token, some minutes later. */
const ASK_EVERY_MS = 60_000;

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

/** Shows the name as the server half has it, from now on: the class's staff may give another one. */
export function keepJoinedName(joining: Pick<HttpJoining, 'state'>, joinedName: JoinedName): void {
  const ask = async (): Promise<void> => {
    const before = joinedName.value;
    const state = await joining.state();
    // A name of a joining that was quicker than this answer stays, and the last one where there is no answer.
    if (state !== null && joinedName.value === before) {
      joinedName.value = state.name;
    }
  };
  void ask();
  setInterval(() => void ask(), ASK_EVERY_MS);
}
