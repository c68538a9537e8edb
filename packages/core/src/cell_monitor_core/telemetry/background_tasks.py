"""The repeating tasks of a service, whose errors are counted by the task's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cell_monitor_core.repeating_task import RepeatingTask
from cell_monitor_core.telemetry.metrics import BACKGROUND_TASK_ERRORS

__all__ = ["background_task"]


def background_task(
    name: str, step: Callable[[], Awaitable[float | None]], *, interval_s: float, first_after_s: float = 0.0
) -> RepeatingTask:
    """Return a task whose errors count in ``BACKGROUND_TASK_ERRORS``; the arguments are those of ``RepeatingTask``."""
    count = BACKGROUND_TASK_ERRORS.labels(name).inc
    return RepeatingTask(name, step, interval_s=interval_s, first_after_s=first_after_s, on_error=count)
