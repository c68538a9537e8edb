"""The tables of the benchmark: each figure with its baseline and its goal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["GOALS", "PARTS", "PLAIN_FIGURES", "Goal", "figures", "missed", "table", "write"]

PARTS: Final = ("ingest", "worker", "gateway", "screen", "pixel")


class Goal(NamedTuple):
    """One figure: the part that measures it, its description, and its bound."""

    key: str
    part: str
    says: str
    at_least: bool
    bound: float
    unit: str = ""


GOALS: Final = (
    Goal("ingest_vs_empty_asgi", "ingest", "one event a request, against an empty raw-ASGI app", True, 0.45, "times"),
    Goal("ingest_vs_textbook", "ingest", "the same, against the textbook", True, 8, "times"),
    Goal("ingest_batch_us_per_event", "ingest", "batches of 50: CPU of the API process an event", False, 10, "µs"),
    Goal("instruments_cpu_share", "ingest", "instruments: CPU beyond the same build without", False, 0.12),
    Goal("worker_vs_naive", "worker", "worker, against a naive worker", True, 5, "times"),
    Goal(
        "gateway_vs_send_loop",
        "gateway",
        "deliveries to 1,000 sockets, against `send_text` in a loop",
        True,
        1.5,
        "times",
    ),
    Goal("gateway_p99_ms", "gateway", "p99 of these deliveries", False, 25, "ms"),
    Goal("event_to_screen_p99_beyond_window_ms", "screen", "event to frame, p99 beyond the window", False, 60, "ms"),
    Goal(
        "key_to_pixel_p50_ms", "pixel", "Shift+Enter in JupyterLab to the error on the dashboard, p50", False, 300, "ms"
    ),
    Goal("key_to_pixel_p99_ms", "pixel", "the same, p99", False, 500, "ms"),
    Goal("requests_vs_two_seconds", "pixel", "a student's requests, against a linger of 2 s", False, 1, "times"),
    Goal("api_mib", "ingest", "memory of an API process", False, 120, "MiB"),
    Goal("worker_mib", "worker", "memory of the worker", False, 150, "MiB"),
    Goal("gateway_mib_1000_sockets", "gateway", "memory of the gateway with 1,000 sockets", False, 160, "MiB"),
    Goal("gateway_kib_per_socket", "gateway", "memory of a socket", False, 40, "KiB"),
)

PLAIN_FIGURES: Final = {
    "pixel": (
        "requests_per_student_minute",
        "key_to_running_p50_ms",
        "key_to_running_p99_ms",
        "raise_to_pixel_p50_ms",
        "raise_to_pixel_p99_ms",
    )
}
"""Figures without a goal, by part."""

_BEGIN: Final = "<!-- measured: begin -->"
_END: Final = "<!-- measured: end -->"


def figures(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of the executed parts by key."""
    keys = [(goal.part, goal.key) for goal in GOALS]
    keys += [(part, key) for part, names in PLAIN_FIGURES.items() for key in names]
    return {key: results[part][key] for part, key in keys if part in results}


def _kept(goal: Goal, value: float | None) -> bool:
    return value is not None and (value >= goal.bound if goal.at_least else value <= goal.bound)


def missed(measured: Mapping[str, Any]) -> list[str]:
    """Return one line for each goal that was missed."""
    return [
        f"{goal.says}: {_text(measured[goal.key])} {goal.unit}, goal {'≥' if goal.at_least else '≤'} {goal.bound:g}"
        for goal in GOALS
        if goal.key in measured and not _kept(goal, measured[goal.key])
    ]


def _text(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def table(results: Mapping[str, Mapping[str, Any]], machine: str, *, seconds: float) -> str:
    """Return a run as Markdown: the goals, then the results of each part's targets."""
    measured = figures(results)
    lines = [f"{machine}. One run of {seconds / 60:.0f} minutes; medians of the rounds, ratios within a round.", ""]
    lines += ["| what | measured | goal | |", "|---|---:|---:|---|"]
    for goal in GOALS:
        if goal.key in measured:
            value = measured[goal.key]
            sign = "≥" if goal.at_least else "≤"
            lines.append(
                f"| {goal.says} | {_text(value)} {goal.unit} | {sign} {goal.bound:g} {goal.unit} | "
                f"{'reached' if _kept(goal, value) else 'missed'} |"
            )
    if "ingest" in results:
        lines += ["", "| ingest | requests/s | CPU µs a request | p99 ms |", "|---|---:|---:|---:|"]
        lines += [
            f"| {t['name']} | {t['rate']:,.0f} | {t['cpu_us']:.1f} | {t['p99_ms']:.2f} |"
            for t in results["ingest"]["targets"]
        ]
    if "worker" in results:
        lines += ["", "| worker | events/s | CPU µs an event | PostgreSQL's | MiB |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {t['name']} | {t['rate']:,.0f} | {t['worker_us']:.1f} | {t['postgres_us']:.1f} | {t['mib']:.0f} |"
            for t in results["worker"]["targets"]
        ]
    if "gateway" in results:
        lines += ["", "| gateway, 1,000 sockets | deliveries/s | p99 ms |", "|---|---:|---:|"]
        lines += [
            f"| {t['name']} | {t['deliveries_s']:,.0f} | {_text(t['p99_ms'])} |" for t in results["gateway"]["targets"]
        ]
    if "screen" in results:
        part = results["screen"]
        cpu = ", ".join(f"{name} {share:.0%}" for name, share in part["cpu"].items())
        lines += [
            "",
            (
                f"Event to frame at {part['rate']:,.0f} events/s and 200 dashboards: p50 {part['p50_ms']:.0f} ms, "
                f"p99 {part['p99_ms']:.0f} ms with a window of 50 ms. CPU, of one core each: {cpu}."
            ),
        ]
    if "pixel" in results:
        part = results["pixel"]
        lines += [
            "",
            (
                f"Key to pixel with {part['other_students']} other students at work, two pages in one browser, "
                f"{part['presses']} presses: a cell that raises at once p50 {part['key_to_pixel_p50_ms']:.0f} ms, p99 "
                f"{part['key_to_pixel_p99_ms']:.0f} ms. Runs of a second, {part['long_runs']} of them: start p50 "
                f"{part['key_to_running_p50_ms']:.0f} ms, p99 {part['key_to_running_p99_ms']:.0f} ms from the key; end p50 "
                f"{part['raise_to_pixel_p50_ms']:.0f} ms, p99 {part['raise_to_pixel_p99_ms']:.0f} ms from the kernel's "
                f"exception. A student who types, selects and runs makes {part['requests_per_student_minute']:.1f} requests a "
                f"minute; with a linger of two seconds it would be {part['requests_per_student_minute_two_seconds']:.1f}."
            ),
        ]
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    """Replace the measured part of a page.

    Raises:
        ValueError: the page does not contain the marks.
    """
    page = path.read_text()
    if _BEGIN not in page or _END not in page:
        raise ValueError(f"{path} does not contain the marks {_BEGIN} and {_END}")
    before, rest = page.split(_BEGIN, 1)
    after = rest.split(_END, 1)[1]
    path.write_text(f"{before}{_BEGIN}\n{text}{_END}{after}")
