"""Counters, gauges and histograms as plain numbers, which ``prometheus_client`` reads when ``/metrics`` is requested.

An increment is one addition without a lock. Only the thread of the event loop may increment: others can lose updates.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Catalogue", "Counter", "Family", "Gauge", "GaugeMode", "Histogram", "Kind"]

Kind = Literal["counter", "gauge", "histogram"]
GaugeMode = Literal["livesum", "livemax", "liveall"]
"""How ``prometheus_client`` combines the gauges of several processes of one service."""

_NAME: Final = re.compile(r"^cell_monitor_[a-z][a-z0-9_]*$")
_MAX_CHILDREN: Final = 1024
# No label may identify a person or course: metrics are kept long, and each label value is its own time series.
_PERSONAL: Final = frozenset({"user", "username", "student", "person", "person_id", "student_id", "email", "course"})


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add."""
        self.value += amount


class Gauge:
    """A number that can grow and fall."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        """Replace."""
        self.value = value

    def inc(self, amount: float = 1) -> None:
        """Add."""
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        """Subtract."""
        self.value -= amount


class Histogram:
    """Counts of observations by bucket. The last entry of ``counts`` is for values above all ``bounds``."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float, times: int = 1) -> None:
        """Add ``times`` observations of the same value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class Family(Generic[Instrument]):
    """One metric with its children, one for each combination of label values.

    Get children once, outside the hot path: ``rejected = EVENTS_REJECTED.labels("invalid_event")``.
    """

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - the name in prometheus_client
        kind: Kind,
        instrument: type[Instrument],
        labels: Mapping[str, Sequence[str] | None],
        *,
        buckets: tuple[float, ...] = (),
        mode: GaugeMode = "livesum",
    ) -> None:
        if not _NAME.match(name) or _PERSONAL & labels.keys():
            raise ValueError(
                f"{name} must begin with cell_monitor_ and have no label that identifies a person or course"
            )
        self.name = name
        self.help = help
        self.kind = kind
        self.services: tuple[str, ...] = ()
        self.label_names = tuple(labels)
        self.label_values = dict(labels)
        self.buckets = buckets
        self.mode = mode
        self._instrument: type[Instrument] = instrument
        self._children: dict[tuple[str, ...], Instrument] = {}
        known = [values for values in labels.values() if values is not None]
        if len(known) == len(labels):
            # All label values are known, so the children exist from the start with 0: rate() needs a first value.
            for values in itertools.product(*known):
                self._child(tuple(str(value) for value in values))

    def _child(self, values: tuple[str, ...]) -> Instrument:
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= _MAX_CHILDREN:
                raise ValueError(f"{self.name} has {_MAX_CHILDREN} children: a label has an unbounded set of values")
            make: Any = self._instrument
            child = make(self.buckets) if self.kind == "histogram" else make()
            self._children[values] = child
        return child

    def labels(self, *values: object) -> Instrument:
        """Return the child of these label values, given in the order of the label names."""
        if len(values) != len(self.label_names):
            raise ValueError(f"{self.name} has the labels {self.label_names}, not {len(values)}")
        return self._child(tuple(str(value) for value in values))

    def remove(self, *values: object) -> None:
        """Remove a child whose subject no longer exists, such as a partition that another worker took over."""
        self._children.pop(tuple(str(value) for value in values), None)

    def items(self) -> Iterator[tuple[tuple[str, ...], Instrument]]:
        """Return the children with their label values."""
        return iter(list(self._children.items()))


class Catalogue(Collector):
    """All metrics by name, as a collector of ``prometheus_client``."""

    def __init__(self) -> None:
        self.families: dict[str, Family[Any]] = {}
        self.service: str | None = None
        self._section: tuple[str, ...] = ()

    def section(self, *services: str) -> None:
        """Set the services of the declarations that follow; no argument means all services."""
        self._section = services

    def exposed(self) -> list[Family[Any]]:
        """Return the families of this process's service, or all families while ``service`` is not set."""
        return [
            family
            for family in self.families.values()
            if not family.services or self.service is None or self.service in family.services
        ]

    def _add(self, family: Family[Instrument]) -> Family[Instrument]:
        if family.name in self.families:
            raise ValueError(f"{family.name} is declared twice")
        family.services = self._section
        self.families[family.name] = family
        return family

    def counter(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: Mapping[str, Sequence[str] | None] | None = None,
    ) -> Family[Counter]:
        """Declare a counter. Its name must end in ``_total``."""
        if not name.endswith("_total"):
            raise ValueError(f"{name}: a counter ends in _total")
        return self._add(Family(name, help, "counter", Counter, labels or {}))

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: Mapping[str, Sequence[str] | None] | None = None,
        *,
        mode: GaugeMode = "livesum",
    ) -> Family[Gauge]:
        """Declare a gauge."""
        return self._add(Family(name, help, "gauge", Gauge, labels or {}, mode=mode))

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002
        buckets: Sequence[float],
        labels: Mapping[str, Sequence[str] | None] | None = None,
    ) -> Family[Histogram]:
        """Declare a histogram; ``buckets`` are the upper bounds in ascending order."""
        bounds = tuple(float(bound) for bound in buckets)
        if list(bounds) != sorted(set(bounds)):
            raise ValueError(f"{name}: bounds must be in ascending order")
        return self._add(Family(name, help, "histogram", Histogram, labels or {}, buckets=bounds))

    def collect(self) -> Iterable[Metric]:
        """Return all metrics in ``prometheus_client``'s form."""
        for family in self.exposed():
            yield _exposed(family)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: this class checks the names itself."""
        return ()


def _exposed(family: Family[Any]) -> Metric:
    if family.kind == "histogram":
        histograms = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
        for values, child in family.items():
            cumulative = itertools.accumulate(child.counts)
            bounds = [*(repr(bound) for bound in child.bounds), "+Inf"]
            histograms.add_metric(values, list(zip(bounds, cumulative, strict=True)), child.sum)
        return histograms
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    numbers = made(family.name, family.help, labels=family.label_names)
    for values, child in family.items():
        numbers.add_metric(values, child.value)
    return numbers
