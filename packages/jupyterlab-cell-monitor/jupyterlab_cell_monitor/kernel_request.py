"""One ``execute_request``, as the kernel's IOPub messages show it: what it runs, what it shows, how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from .shown_outputs import OutputCollector, cut, joined, without_escapes
from .timestamps import to_text

__all__ = ["DeathType", "KernelRequest", "execution_data"]

DeathType: TypeAlias = Literal["kernel_restarted", "kernel_died"]
"""The event of a kernel's death: the server started the kernel again, or gave it up."""

_CODE_BYTES = 16 * 1024
_NAME_CHARS = 256
_VALUE_BYTES = 2 * 1024
_TRACEBACK_BYTES = 16 * 1024
_MAX_COUNT = 2**31 - 1


@dataclass(slots=True)
class KernelRequest:
    """The messages of one request so far. Its reply goes to the page that sent it and is not among them.

    Attributes:
        whole: whether the first of its messages was received.
        begun: whether the kernel has begun to execute it; one that it skips after an error never begins.
        code: what it runs, as the kernel repeats it, cut; ``code_size`` are its bytes of UTF-8 before that.
        count: its execution count.
        started_at: when the kernel began to execute it, by its clock; None where that message was not received.
        ended_at: when its own idle status came, by the kernel's clock.
        ended: whether its own idle status came, or its kernel is gone.
        lost: whether its kernel is gone.
        death: the event of that, where the kernel died while it executed this request; None otherwise.
        interrupted: whether somebody asked for an interrupt while it was executed.
    """

    whole: bool = False
    begun: bool = False
    code: str = ""
    code_size: int = 0
    count: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ended: bool = False
    lost: bool = False
    death: DeathType | None = None
    interrupted: bool = False
    outputs: OutputCollector = field(default_factory=OutputCollector)

    def receive(self, kind: str, date: Any, content: dict[str, Any]) -> None:
        """Take a message of the type ``kind`` that has this request as its parent."""
        if kind == "status":
            state = content.get("execution_state")
            if state == "idle":
                self.ended, self.ended_at = True, _time(date)
            elif state == "busy" and not self.begun:
                self.whole = True
            return
        if kind == "execute_input":
            # Nothing is shown before it, except by a kernel that sends it late: then `busy` was received, or it was not.
            self.whole = self.whole or not self.begun
            code = joined(content.get("code"))
            self.code, _ = cut(code, _CODE_BYTES + 1)
            self.code_size = len(code.encode("utf-8", "surrogatepass"))
            count = content.get("execution_count")
            self.count = count if isinstance(count, int) and 0 <= count <= _MAX_COUNT else None
            self.started_at = _time(date)
        self.begun = True
        self.outputs.add(kind, content)

    @property
    def duration_ms(self) -> int | None:
        """How long it ran, by the kernel's clock; None where that is not known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0, round((self.ended_at - self.started_at).total_seconds() * 1000))


def execution_data(
    execution_id: str, request: KernelRequest, duration_ms: int | None, *, error_expected: bool = False
) -> dict[str, Any]:
    """Return the ``data`` of a run's ``cell_executed``, with the duration that is known of it.

    It failed if an error is shown at its end: that is what the student sees, whatever the reply said; ``error_expected``
    says that its author allows that. An interrupt, whatever exception it becomes, and the end of the kernel end a run as
    ``aborted``. So does a run that the kernel skipped, and one that shows no error where an error may have been missed:
    what is not known is not ok. An error that only the reply has, which is not published, is known by what IPython writes.
    """
    shown = request.outputs.error
    error = None if shown is None else _error(shown)
    if request.lost or (error is not None and (request.interrupted or error["name"] == "KeyboardInterrupt")):
        status = "aborted"
    elif error is not None:
        status = "error"
    else:
        status = "ok" if request.whole and request.begun else "aborted"
    code, code_truncated = cut(without_escapes(request.code), _CODE_BYTES)
    outputs, outputs_truncated = request.outputs.records()
    if status == "ok" and outputs and _is_usage_error(outputs[-1]):
        status = "aborted"
    data: dict[str, Any] = {"execution_id": execution_id, "status": status, "code": code, "outputs": outputs}
    if request.count is not None:
        data["execution_count"] = request.count
    if duration_ms is not None:
        data["duration_ms"] = duration_ms
    if error_expected:
        data["error_expected"] = True
    if request.started_at is None:
        # Its first messages were missed, and what it printed then with them; or it was skipped, and printed nothing.
        code_truncated = True
        outputs_truncated = outputs_truncated or not (request.whole and request.ended and not request.begun)
    else:
        data["started_at"] = to_text(request.started_at)
    if code_truncated:
        data["code_truncated"] = True
    if outputs_truncated:
        data["outputs_truncated"] = True
    if error is not None:
        data["error"] = error
    return data


def _is_usage_error(output: dict[str, Any]) -> bool:
    """Whether an output ends as a wrong use of a magic does: text on stderr, and an error in the reply alone."""
    last_line = output["text"].rstrip("\n").rpartition("\n")[2]
    return output.get("name") == "stderr" and last_line.startswith("UsageError: ")


def _error(content: dict[str, Any]) -> dict[str, Any]:
    lines = content.get("traceback")
    traceback = "\n".join(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ""
    value, value_cut = cut(without_escapes(joined(content.get("evalue"))), _VALUE_BYTES)
    shown, traceback_cut = _middle_cut(without_escapes(traceback))
    name = without_escapes(joined(content.get("ename")))[:_NAME_CHARS] or "Error"
    error: dict[str, Any] = {"name": name, "value": value, "traceback": shown}
    return error | {"truncated": True} if value_cut or traceback_cut else error


def _middle_cut(text: str) -> tuple[str, bool]:
    """Of a deep recursion both ends are needed."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _TRACEBACK_BYTES:
        return text, False
    half = _TRACEBACK_BYTES // 2 - 8
    head, tail = encoded[:half].decode("utf-8", "ignore"), encoded[-half:].decode("utf-8", "ignore")
    return f"{head}\n…\n{tail}", True


def _time(date: Any) -> datetime | None:
    """Return a message's date; jupyter_client gives it as a datetime, and as a text where it cannot be read."""
    if not isinstance(date, datetime):
        return None
    return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
