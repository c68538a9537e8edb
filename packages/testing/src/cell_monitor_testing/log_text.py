"""What a log says: the names of its entries, and whether a secret is in it in any form."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

__all__ = ["assert_not_written", "event_names"]


def event_names(log: str) -> list[str]:
    """Return the names of the JSON entries of a service's log, oldest first."""
    # The last line may be half written.
    return [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{") and line.endswith("}")]


def assert_not_written(log: str, *secrets: str) -> None:
    """Check that no secret is in a log: as it is, escaped for JSON or Python, or percent-encoded.

    Raises:
        AssertionError: one is, or the log is empty, so that it was not captured.
    """
    assert log.strip(), "the log is empty"
    for secret in secrets:
        assert secret.strip(), "an empty text would be in every log"
        for form in sorted(_forms(secret)):
            assert form not in log, f"the log has {form!r}"


def _forms(secret: str) -> set[str]:
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return {secret} | quoted | encoded | {ascii(secret)[1:-1]}
