"""What staff do about requests for help: "I'm on it", "somebody else, please", "done"."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from cell_monitor_api.exceptions import HelpAlreadyClaimed, HelpClosed, NotFound
from cell_monitor_api.models.students import HelpAnswer
from cell_monitor_api.services.retrying_publisher import RetryingPublisher
from cell_monitor_core.channels import course_channel
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import help as help_rules
from cell_monitor_core.publishing import draft_of
from cell_monitor_core.storage.postgres import help_actions, people
from cell_monitor_core.telemetry.metrics import HELP_ACTIONS

__all__ = ["HelpDesk"]


class HelpDesk:
    """Acts on requests: first committed, then published, and again by the worker; see docs/adr/0010."""

    def __init__(self, pool: Any, keyring: KeyRing, publisher: RetryingPublisher, counters: Counters) -> None:
        self._pool = pool
        self._keyring = keyring
        self._publisher = publisher
        self._counters = counters

    async def act(
        self,
        course_id: str,
        request_id: UUID,
        action: help_rules.HelpActionKind,
        person_id: UUID,
    ) -> HelpAnswer:
        """Act on a request and publish what changed.

        Raises:
            NotFound: there is no such request in this course.
            HelpAlreadyClaimed: somebody else has taken it.
            HelpClosed: it is resolved or cancelled.
        """
        try:
            help_state, student_state = await help_actions.apply_help_action(
                self._pool,
                self._keyring,
                course_id=course_id,
                request_id=request_id,
                action=action,
                person_id=person_id,
            )
        except help_actions.HelpNotFound:
            raise NotFound("there is no such request for help in this course") from None
        except help_rules.HelpAlreadyClaimed as error:
            names = await people.names_of(self._pool, self._keyring, [error.by])
            name = names.get(error.by)
            who = "somebody else" if name is None else name.shown
            raise HelpAlreadyClaimed(f"{who} is on it already") from None
        except help_rules.HelpClosed:
            raise HelpClosed(
                "this request is closed: resolved, cancelled, or closed because the student had left"
            ) from None
        HELP_ACTIONS.labels(action).inc()
        drafts = [draft_of(help_state), draft_of(student_state)]
        if action == "resolve":
            # The course counts what is open or claimed.
            drafts += await self._counters.drafts(course_id)
        published = await self._publisher.publish(course_channel(course_id), drafts)
        return HelpAnswer(help=help_state, published=published)
