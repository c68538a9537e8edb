import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { statusSentence } from '../status/wording';
import type { ICellMonitor } from '../tokens';
import { JOIN_CHARS } from '../transport/joining';
import type { HttpJoining, IJoinForm, IJoinState } from '../transport/joining';
import type { JoinedName } from '../status/joined_name';
import { joinedSentence, joinFault } from './wording';

type Field = keyof typeof JOIN_CHARS;

/** The fields of joining, with what was wrong the last time. */
class JoinBody extends Widget implements Dialog.IBodyWidget<IJoinForm> {
  constructor(
    private readonly _held: IJoinForm,
    { addressIsFixed }: IJoinState,
    fault: string | null,
    trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-CellMonitor-joinBody');
    const hint = document.createElement('p');
    hint.id = 'jp-CellMonitor-joinHint';
    hint.textContent = trans.__(
      'Your instructor shows the code. From then on the staff of the course sees under your name which cells you run and how they end.'
    );
    this.node.append(hint);
    if (fault !== null) {
      const alert = document.createElement('p');
      alert.id = 'jp-CellMonitor-joinFault';
      alert.className = 'jp-CellMonitor-warning';
      alert.setAttribute('role', 'alert');
      alert.textContent = fault;
      this.node.append(alert);
    }
    const described = fault === null ? hint.id : `${hint.id} jp-CellMonitor-joinFault`;
    if (!addressIsFixed) {
      this._add('address', trans.__('Address that your instructor shows'), 'url', described);
    }
    this._add('code', trans.__('Code'), 'text', described);
    this._add('name', trans.__('Your name'), 'text', described);
  }

  getValue(): IJoinForm {
    const value = (field: Field): string => this._inputs.get(field)?.value ?? this._held[field];
    return { address: value('address'), code: value('code'), name: value('name') };
  }

  private _add(field: Field, text: string, inputMode: string, describedBy: string): void {
    const input = document.createElement('input');
    const label = document.createElement('label');
    input.id = `jp-CellMonitor-join-${field}`;
    label.htmlFor = input.id;
    label.textContent = text;
    input.type = 'text';
    input.inputMode = inputMode;
    input.className = 'jp-mod-styled';
    input.maxLength = JOIN_CHARS[field];
    input.value = this._held[field];
    input.autocomplete = field === 'name' ? 'name' : 'off';
    input.spellcheck = false;
    input.required = true;
    input.setAttribute('aria-describedby', describedBy);
    this._inputs.set(field, input);
    this.node.append(label, input);
  }

  private readonly _inputs = new Map<Field, HTMLInputElement>();
}

/** Asks for address, code and name until this computer has joined or the student gives up. */
export async function joinDialog(
  monitor: ICellMonitor,
  joining: HttpJoining,
  joinedName: JoinedName,
  trans: TranslationBundle
): Promise<void> {
  const state: IJoinState = (await joining.state()) ?? {
    joined: false,
    name: '',
    title: '',
    address: '',
    addressIsFixed: false,
    nameKept: false
  };
  let form: IJoinForm = { address: state.address, code: '', name: state.name };
  // Those who were removed see it before they type anything.
  let fault = monitor.problem === 'join_ended' ? statusSentence(monitor, trans) : null;
  for (;;) {
    const result: Dialog.IResult<IJoinForm> = await showDialog<IJoinForm>({
      title: trans.__('Join a class'),
      body: new JoinBody(form, state, fault, trans),
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Join') })],
      focusNodeSelector: form.address || state.addressIsFixed ? '#jp-CellMonitor-join-code' : 'input'
    });
    if (!result.button.accept || !result.value) {
      return;
    }
    form = { ...result.value, code: result.value.code.trim(), name: result.value.name.trim() };
    if (!form.code || !form.name || (!form.address.trim() && !state.addressIsFixed)) {
      fault = trans.__('Fill in every field.');
      continue;
    }
    const answer = await joining.join(form);
    if (answer.kind === 'joined') {
      joinedName.value = answer.state.name;
      await monitor.reconnect();
      Notification.success(joinedSentence(answer.state, trans), { autoClose: answer.state.nameKept ? 20_000 : 8000 });
      return;
    }
    fault = joinFault(answer, trans);
  }
}
