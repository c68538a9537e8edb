"""Counters, gauges and histograms that are plain numbers until somebody asks.

An increment is one addition; ``prometheus_client`` sees the numbers only when ``/metrics`` is read. They belong to the
event loop's thread: increments from other threads may be lost.
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
"""How the gauges of several processes of one service become one."""

_NAME: Final = re.compile(r"^cell_monitor_[a-z][a-z0-9_]*$")
_MAX_CHILDREN: Final = 1024
# No label may say who or what it was about: labels live long, and each value is a time series of its own.
_PERSONAL: Final = frozenset({"user", "username", "student", "person", "person_id", "student_id", "email", "course"})


class Counter:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add."""
        self.value += amount


class Gauge:
    """A number that goes up and down."""

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
    """Counts of observations by bucket. ``counts`` has one entry more than ``bounds``: the rest."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float, times: int = 1) -> None:
        """Add an observation, or the same one several times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class Family(Generic[Instrument]):
    """One metric with all its labelled children.

    Bind children once, outside the hot path: ``rejected = EVENTS_REJECTED.labels("unknown_type")``.
    """

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - Prometheus' word
        kind: Kind,
        instrument: type[Instrument],
        labels: Mapping[str, Sequence[str] | None],
        *,
        buckets: tuple[float, ...] = (),
        mode: GaugeMode = "livesum",
    ) -> None:
        if not _NAME.match(name) or _PERSONAL & labels.keys():
            raise ValueError(f"{name} must begin with cell_monitor_ and have no label that tells a person or course")
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
            # Known from the start, hence zero and not absent until the first time: rate() needs that.
            for values in itertools.product(*known):
                self._child(tuple(str(value) for value in values))

    def _child(self, values: tuple[str, ...]) -> Instrument:
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= _MAX_CHILDREN:
                raise ValueError(f"{self.name} has {_MAX_CHILDREN} children: a label holds what it must not")
            make: Any = self._instrument
            child = make(self.buckets) if self.kind == "histogram" else make()
            self._children[values] = child
        return child

    def labels(self, *values: object) -> Instrument:
        """Return the child of these label values, in the order of the label names."""
        if len(values) != len(self.label_names):
            raise ValueError(f"{self.name} has the labels {self.label_names}, not {len(values)}")
        return self._child(tuple(str(value) for value in values))

    def remove(self, *values: object) -> None:
        """Forget a child: what it measured is gone, such as another worker's partition."""
        self._children.pop(tuple(str(value) for value in values), None)

    def items(self) -> Iterator[tuple[tuple[str, ...], Instrument]]:
        """Return the children with their label values."""
        return iter(list(self._children.items()))


class Catalogue(Collector):
    """All metrics by name, and how Prometheus reads them."""

    def __init__(self) -> None:
        self.families: dict[str, Family[Any]] = {}
        self.service: str | None = None
        self._section: tuple[str, ...] = ()

    def section(self, *services: str) -> None:
        """Say which services the declarations that follow are for; none means all of them."""
        self._section = services

    def exposed(self) -> list[Family[Any]]:
        """Return the families of this process's service, or all of them until ``service`` is set."""
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
        """Declare a counter; ``name`` ends in ``_total``."""
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
        """Declare a histogram with these upper bounds."""
        bounds = tuple(float(bound) for bound in buckets)
        if list(bounds) != sorted(set(bounds)):
            raise ValueError(f"{name}: bounds must grow")
        return self._add(Family(name, help, "histogram", Histogram, labels or {}, buckets=bounds))

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as prometheus_client exposes them."""
        for family in self.exposed():
            yield _exposed(family)

    def describe(self) -> Iterable[Metric]:
        """Declare nothing in advance: names are checked here."""
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
