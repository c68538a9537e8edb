"""What becomes of questions to JupyterHub whose a token is, as numbers and in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from cell_monitor_api.services.hub_rules import NotASender, NotAVisitor
from cell_monitor_api.storage.hub_api import HubRefusal, HubSilence
from cell_monitor_core.telemetry.metrics import HUB_REQUESTS

__all__ = ["counted_request"]

_log = structlog.get_logger(__name__)


@contextmanager
def counted_request() -> Iterator[None]:
    """Count what comes of a question and of judging its answer, and log a Hub that does not answer.

    What is raised inside is raised on.
    """
    try:
        yield
    except HubRefusal:
        HUB_REQUESTS.labels("refused").inc()
        raise
    except (NotASender, NotAVisitor):
        HUB_REQUESTS.labels("unfit").inc()
        raise
    except HubSilence as error:
        HUB_REQUESTS.labels("unavailable").inc()
        _log.warning("hub_unavailable", reason=str(error))
        raise
    HUB_REQUESTS.labels("ok").inc()
