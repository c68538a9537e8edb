"""The texts of errors that pages show, taken once more from the payloads: after the migration that moved them there."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publications import MAX_ERROR_VALUE
from cell_monitor_core.storage.postgres import event_rows, help_requests, student_states
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["fill_error_texts"]

_STUDENTS: Final = """
SELECT course_id, person_id, (state#>>'{last_execution,event_id}')::uuid AS run FROM student_states
WHERE error_text_enc IS NULL AND state#>>'{last_execution,error,name}' IS NOT NULL
"""

_REQUESTS: Final = """
SELECT request_id, person_id, (context->>'run')::uuid AS run FROM help_requests
WHERE error_text_enc IS NULL AND context#>>'{error,name}' IS NOT NULL AND context ? 'run'
"""


class _Error(msgspec.Struct):
    value: str = ""


class _Data(msgspec.Struct):
    error: _Error | None = None


class _Run(msgspec.Struct):
    data: _Data


_run = msgspec.json.Decoder(_Run)


async def fill_error_texts(executor: Executor, keyring: KeyRing) -> int:
    """Store the texts of shown errors that are not stored beside their states; return how many there were.

    Raises:
        DecryptionError: the key ring is not that of this database.
    """
    students = await executor.fetch(_STUDENTS)
    requests = await executor.fetch(_REQUESTS)
    wanted = {(row["person_id"], row["run"]) for row in (*students, *requests)}
    texts = await _texts_of(executor, keyring, wanted)
    filled = 0
    for row in students:
        if text := texts.get((row["person_id"], row["run"])):
            place = student_states.student_row(row["course_id"], row["person_id"])
            await executor.execute(
                "UPDATE student_states SET error_text_enc = $3 WHERE course_id = $1 AND person_id = $2",
                row["course_id"],
                row["person_id"],
                keyring.encrypt_text(text, context=student_states.ERROR_TEXT, row=place),
            )
            filled += 1
    for row in requests:
        if text := texts.get((row["person_id"], row["run"])):
            await executor.execute(
                "UPDATE help_requests SET error_text_enc = $2 WHERE request_id = $1",
                row["request_id"],
                keyring.encrypt_text(text, context=help_requests.ERROR_TEXT, row=row["request_id"].bytes),
            )
            filled += 1
    return filled


async def _texts_of(executor: Executor, keyring: KeyRing, runs: set[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], str]:
    texts = {}
    for key, payload in (await event_rows.payloads_of(executor, keyring, runs)).items():
        error = _run.decode(payload).data.error
        if error is not None and error.value:
            texts[key] = error.value[:MAX_ERROR_VALUE]
    return texts
