"""What a student sees below a cell at the end of a run, gathered from the kernel's IOPub messages in bounded memory.

The rules are those of JupyterLab's output area and of the page's own collector (``src/capture/outputs.ts``), so that the
outputs of a run are recorded alike whichever of the two reports its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MAX_OUTPUTS", "OutputCollector", "cut", "without_escapes"]

MAX_OUTPUTS = 20
_TEXT_CHARS = 8 * 1024
_RAW_CHARS = 4 * _TEXT_CHARS
_NAME_CHARS = 64
_MIME_CHARS = 128
_MAX_PARTS = 2000

# Colours, cursor moves (CSI), titles and links (OSC), and two-byte escapes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile("[\n\r\b]")


def without_escapes(text: str) -> str:
    """Return text without terminal control sequences and without what cannot be stored."""
    return _UNSTORABLE.sub("\ufffd", _ESCAPES.sub("", text))


def cut(text: str, max_bytes: int) -> tuple[str, bool]:
    """Return as much of a text as has at most ``max_bytes`` in UTF-8, and whether that is less than all."""
    if len(text) <= max_bytes // 4:
        return text, False
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return text, False
    return encoded[:max_bytes].decode("utf-8", "ignore"), True


def joined(value: Any) -> str:
    """Return a text that may be a list of lines; empty for anything else."""
    if isinstance(value, list):
        return "".join(line for line in value[:_MAX_PARTS] if isinstance(line, str))
    return value if isinstance(value, str) else ""


@dataclass(slots=True)
class _StreamText:
    """The text of one stream: backspace, carriage return and line feed act as in JupyterLab's output area."""

    cut: bool = False
    _lines: str = ""
    _line: str = ""
    _column: int = 0

    @property
    def text(self) -> str:
        return (self._lines + self._line)[:_RAW_CHARS]

    def write(self, text: str) -> None:
        if len(self._lines) >= _RAW_CHARS:
            self.cut = self.cut or bool(text)
            return
        start = 0
        for match in _CONTROLS.finditer(text):
            self._put(text[start : match.start()])
            start = match.end()
            if match[0] == "\n":
                self._new_line()
            elif match[0] == "\r":
                self._column = 0
            elif self._column:
                self._line = self._line[: self._column - 1] + self._line[self._column + 1 :]
                self._column -= 1
        self._put(text[start:])
        self.cut = self.cut or len(self._lines) + len(self._line) > _RAW_CHARS

    def _put(self, text: str) -> None:
        if text:
            kept = text[: max(0, _RAW_CHARS - self._column)]
            self.cut = self.cut or len(kept) < len(text)
            self._line = self._line[: self._column] + kept + self._line[self._column + len(kept) :]
            self._column += len(kept)

    def _new_line(self) -> None:
        if len(self._lines) < _RAW_CHARS:
            self._lines += f"{self._line}\n"
        else:
            self.cut = True
        self._line, self._column = "", 0


@dataclass(slots=True)
class _Stream:
    name: str
    shown: _StreamText = field(default_factory=_StreamText)
    size: int = 0


@dataclass(slots=True)
class _Display:
    type: str
    id: str | None
    mime: str
    text: str
    size: int


class OutputCollector:
    """The outputs of one run, at most 20, and the error that is shown last."""

    def __init__(self) -> None:
        self._gathered: list[_Stream | _Display] = []
        self._missed = False
        self._clears_on_next = False
        self.error: dict[str, Any] | None = None
        """The content of the newest `error` message that is still shown."""

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Take an IOPub message of this type; types that show nothing are ignored."""
        if kind == "clear_output":
            if content.get("wait") is True:
                self._clears_on_next = True
            else:
                self._clear()
            return
        if kind == "update_display_data":
            self._update(content)
            return
        if self._clears_on_next and kind in {"stream", "execute_result", "display_data", "error"}:
            self._clear()
        if kind == "stream":
            self._stream(joined(content.get("name"))[:_NAME_CHARS] or "stdout", joined(content.get("text")))
        elif kind == "execute_result":
            self._display("result", content)
        elif kind == "display_data":
            self._update(content)
            self._display("display", content)
        elif kind == "error":
            self.error = content

    def records(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the outputs as an event has them, and whether there were more than fit."""
        records: list[dict[str, Any]] = []
        for output in self._gathered:
            if isinstance(output, _Stream):
                record: dict[str, Any] = {"type": "stream", "name": output.name}
                text, too_long = output.shown.text, output.shown.cut
            else:
                record = {"type": output.type, "mime": output.mime}
                text, too_long = output.text[:_RAW_CHARS], len(output.text) > _RAW_CHARS
            kept, shortened = cut(without_escapes(text), _TEXT_CHARS)
            record |= {"text": kept, "size": output.size}
            records.append(record | {"truncated": True} if too_long or shortened else record)
        return records, self._missed

    def _stream(self, name: str, text: str) -> None:
        last = self._gathered[-1] if self._gathered else None
        target = last if isinstance(last, _Stream) and last.name == name else None
        if target is None and len(self._gathered) >= MAX_OUTPUTS:
            # A loop that writes to stdout and stderr in turn must not fill the list.
            target = next((one for one in self._gathered if isinstance(one, _Stream) and one.name == name), None)
        if target is None:
            target = _Stream(name)
            self._push(target)
        target.size += len(text)
        target.shown.write(text)

    def _display(self, kind: str, content: dict[str, Any]) -> None:
        bundle = _bundle(content)
        if bundle is not None:
            self._push(_Display(kind, _display_id(content) if kind == "display" else None, *bundle))

    def _update(self, content: dict[str, Any]) -> None:
        display_id, bundle = _display_id(content), _bundle(content)
        if display_id is None or bundle is None:
            return
        for output in self._gathered:
            if isinstance(output, _Display) and output.id == display_id:
                output.mime, output.text, output.size = bundle

    def _push(self, output: _Stream | _Display) -> None:
        if len(self._gathered) >= MAX_OUTPUTS:
            self._missed = True
        else:
            self._gathered.append(output)

    def _clear(self) -> None:
        self._gathered.clear()
        self._missed = self._clears_on_next = False
        self.error = None


def _display_id(content: dict[str, Any]) -> str | None:
    transient = content.get("transient")
    found = transient.get("display_id") if isinstance(transient, dict) else None
    return found if isinstance(found, str) else None


def _bundle(content: dict[str, Any]) -> tuple[str, str, int] | None:
    """Return the MIME type, the plain text and the size in characters of what is shown."""
    data = content.get("data")
    if not isinstance(data, dict):
        return None
    rich = [str(mime) for mime in data if mime != "text/plain"]
    text = joined(data.get("text/plain"))
    size = len(text) + sum(len(joined(data[mime])) for mime in rich)
    return (rich[0] if rich else "text/plain")[:_MIME_CHARS], text[: _RAW_CHARS + 1], size
