"""Metrics of several worker processes as one: each process adds its counts to ``prometheus_client``'s files.

gunicorn's workers share ``PROMETHEUS_MULTIPROC_DIR``; it must be set before ``prometheus_client`` is imported and be
empty at start. https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from cell_monitor_core.repeating_task import RepeatingTask
from cell_monitor_core.telemetry.instruments import Catalogue, Family, Histogram

__all__ = ["MultiprocessFlush", "multiprocess_directory", "render"]

_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_flushers: list[MultiprocessFlush] = []
_registries: dict[int, CollectorRegistry] = {}


def multiprocess_directory() -> str | None:
    """Return the folder that the worker processes share, or None if there is one process."""
    return os.environ.get(_VARIABLE) or None


class MultiprocessFlush:
    """Adds this process's counts to the shared files, every ``interval`` seconds and at the end.

    Use it as an async context manager, entered after the fork. Without the shared folder it does nothing.

    Args:
        catalogue: whose counts.
        interval: seconds.
        on_error: called where the counts could not be added; the next time they are.
    """

    def __init__(
        self, catalogue: Catalogue, *, interval: float = 1.0, on_error: Callable[[], None] | None = None
    ) -> None:
        self._catalogue = catalogue
        self._task = RepeatingTask(
            "metrics-flush", self._flush, interval_s=interval, first_after_s=interval, on_error=on_error
        )
        self._values: dict[tuple[str, tuple[str, ...], int], Any] = {}
        self._flushed: dict[tuple[str, tuple[str, ...], int], float] = {}

    async def __aenter__(self) -> Self:
        if multiprocess_directory() is not None:
            _flushers.append(self)
            self._task.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in _flushers:
            await self._task.aclose()
            _flushers.remove(self)
            self.flush()

    async def _flush(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Add the counts since the last flush."""
        for family in self._catalogue.exposed():
            for labels, child in family.items():
                if isinstance(child, Histogram):
                    for index, count in enumerate((*child.counts, child.sum)):
                        self._add(family, labels, index, count)
                else:
                    self._add(family, labels, 0, child.value)

    def _add(self, family: Family[Any], labels: tuple[str, ...], index: int, number: float) -> None:
        key = (family.name, labels, index)
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._open(family, labels, index)
        if family.kind == "gauge":
            value.set(number)
            return
        change = number - self._flushed.get(key, 0)
        if change:
            value.inc(change)
            self._flushed[key] = number

    @staticmethod
    def _open(family: Family[Any], labels: tuple[str, ...], index: int) -> Any:
        name = family.name
        if family.kind == "gauge":
            return values.ValueClass("gauge", name, name, family.label_names, labels, family.help, family.mode)
        if family.kind == "counter":
            return values.ValueClass(
                "counter", name.removesuffix("_total"), name, family.label_names, labels, family.help
            )
        if index > len(family.buckets):
            return values.ValueClass("histogram", name, f"{name}_sum", family.label_names, labels, family.help)
        bound = repr(family.buckets[index]) if index < len(family.buckets) else "+Inf"
        return values.ValueClass(
            "histogram", name, f"{name}_bucket", (*family.label_names, "le"), (*labels, bound), family.help
        )


def render(catalogue: Catalogue) -> tuple[bytes, str]:
    """Return a catalogue in Prometheus' text format and its content type."""
    if multiprocess_directory() is not None:
        for flusher in _flushers:
            flusher.flush()
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST
    registry = _registries.get(id(catalogue)) or CollectorRegistry()
    if id(catalogue) not in _registries:
        registry.register(catalogue)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        _registries[id(catalogue)] = registry
    return generate_latest(registry), CONTENT_TYPE_LATEST
