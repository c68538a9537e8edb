"""Measure the figures of docs/performance.md, each with its baseline in the same run on the same machine.

Writes the figures to build/bench.json and, with --write-docs, the table in docs/performance.md. Takes about fifteen
minutes on two cores; stop other work first, because ratios need a quiet machine.

With --against COMMIT it compares this checkout with another commit instead: CPU time per event and memory of each
process of both builds under the same traffic, in alternating rounds. The commit is installed below build/against (a
minute, once); a comparison takes about six minutes. The figures are written to build/bench-against.json. The exit code
is 1 if a figure is more than 10 % worse beyond noise: the whole 95 % interval of its ratio is above 1.10.

  make bench                                      the whole benchmark
  make bench ARGS="worker --quick"                one part, to see that it works
  make bench ARGS="pixel"                         from the key in JupyterLab to the pixel on the dashboard
  make bench ARGS="--against main"                this checkout against main
  make bench ARGS="--against 6eff2f1 --rounds 15" more rounds: narrower intervals
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import against
import asyncpg
import comparison
import gateway
import ingest
import machine
import pixel
import report
import screen
import stack as stacks
import worker
from builds import BuildError
from progress import Progress

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.storage.postgres.migrations import migrate
from cell_monitor_testing.browser import find_chromium
from cell_monitor_testing.keys import NEWEST_GENERATION

ROOT = Path(__file__).resolve().parents[2]
SPACE = UUID("6f1d9b1e-0d6c-4f6a-9d2c-6a3f0f6f7a11")
COURSES = 20
STUDENTS = 25
"""Students per course; 500 in total."""


def people() -> list[tuple[str, UUID]]:
    """Return (course, person) of every student; consecutive ones are in different courses, as in real traffic."""
    return [
        (f"course-{course:02d}", uuid5(SPACE, f"{course}/{number}"))
        for number in range(STUDENTS)
        for course in range(COURSES)
    ]


async def seed(database_url: str) -> None:
    """Create the courses and people, without names."""
    connection = await asyncpg.connect(database_url)
    try:
        courses = [*sorted({course for course, _ in people()}), "bench"]
        await connection.executemany(
            "INSERT INTO courses (course_id, title) VALUES ($1, $1) ON CONFLICT DO NOTHING", [(c,) for c in courses]
        )
        rows = [(person, person.bytes, b"-") for _, person in people()]
        await connection.executemany(
            "INSERT INTO people (person_id, username_hash, username_enc) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            rows,
        )
        await connection.executemany(
            "INSERT INTO memberships VALUES ($1, $2, 'student') ON CONFLICT DO NOTHING", people()
        )
    finally:
        await connection.close()


class Parts:
    """The parts of the benchmark in the order of execution; each returns its figures."""

    def __init__(self, running: stacks.Stack, progress: Progress, *, quick: bool) -> None:
        self._running = running
        self._progress = progress
        self._quick = quick
        self._issuer = TokenIssuer(running.signing_keys)
        self._url = running.postgres.dsn

    def _student(self, course: str, person: UUID) -> str:
        return self._issuer.issue(
            grant=Grant.API_KEY,
            person_id=person,
            audience=["ingest"],
            courses={course: "student"},
            scopes=["events:write"],
            generation=NEWEST_GENERATION,
        )[0]

    def _instructor(self) -> str:
        courses = {course: "instructor" for course, _ in people()} | {"bench": "instructor"}
        return self._issuer.issue(
            grant=Grant.SESSION,
            person_id=SPACE,
            audience=["api", "gateway"],
            courses=courses,
            generation=NEWEST_GENERATION,
        )[0]

    def ingest(self) -> dict[str, Any]:
        """Ingest against both baselines."""
        tokens = [self._student("bench", person) for _, person in people()[:64]]
        rounds, seconds = (1, 2.0) if self._quick else (5, 4.0)
        return ingest.measure(self._running, self._url, tokens, self._progress, rounds=rounds, seconds=seconds)

    def worker(self) -> dict[str, Any]:
        """The worker against the naive one."""
        return worker.measure(self._running, self._url, people(), self._progress, rounds=1 if self._quick else 3)

    def gateway(self) -> dict[str, Any]:
        """The gateway against a loop of ``send_text``. An API publishes the keys that verify the tokens."""
        api, url = ingest.serve_keys(self._running, self._url)
        try:
            return gateway.measure(
                self._running, self._instructor, url, self._progress, seconds=2.0 if self._quick else 4.0
            )
        finally:
            self._running.stop(api)

    def screen(self) -> dict[str, Any]:
        """The time from POST to frame."""
        return screen.measure(
            self._running,
            self._url,
            people(),
            self._student,
            self._instructor,
            self._progress,
            seconds=5.0 if self._quick else 20.0,
        )


def run(names: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Run the given parts and return their figures."""
    progress = Progress(steps=72 if len(names) == len(report.PARTS) else 20 * len(names))
    results: dict[str, Any] = {}
    if set(names) - {"pixel"}:
        results |= _run_on_stores([name for name in names if name != "pixel"], progress, quick=quick)
    if "pixel" in names:
        if find_chromium() is None:
            progress.step("key to pixel: skipped, there is no Chromium or Chrome on the PATH")
        else:
            results["pixel"] = pixel.measure(progress, quick=quick)
    return results


def _run_on_stores(names: Sequence[str], progress: Progress, *, quick: bool) -> dict[str, Any]:
    """Start the stores, run the parts that use them and return their figures."""
    results: dict[str, Any] = {}
    with stacks.stack() as running:
        progress.step("starting PostgreSQL and Valkey")
        running.start_valkey(stacks.LOADED)
        running.start_postgres(stacks.LOADED)
        running.start_trace_sink(stacks.LOADED)
        asyncio.run(migrate(running.postgres.dsn))
        asyncio.run(seed(running.postgres.dsn))
        parts = Parts(running, progress, quick=quick)
        for name in names:
            # Started only when needed, because its background work would disturb other parts.
            if name in {"worker", "screen"} and running.influx is None:
                try:
                    running.start_influx(stacks.LOADED)
                except FileNotFoundError as error:
                    progress.step(f"{error} Time series go to PostgreSQL in this run, for the naive worker too.")
            if name == "screen":
                running.unpin()
            measure: Callable[[], dict[str, Any]] = getattr(parts, name)
            results[name] = measure()
    return results


def compare_with(commit: str, *, rounds: int) -> int:
    """Compare this checkout with a commit, print the table and return the exit code."""
    began = time.monotonic()
    try:
        other, comparisons = against.measure(commit, rounds=rounds)
    except (BuildError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    notes = {
        "machine": machine.describe(),
        "traffic": f"{against.RATE} events/s, {against.COURSES * against.STUDENTS} students in {against.COURSES} courses, "
        f"{against.DASHBOARDS} dashboards",
        "rounds": f"{rounds} of each build, {against.SECONDS:.0f} s each, in {(time.monotonic() - began) / 60:.0f} minutes",
    }
    sys.stdout.write(comparison.table(comparisons, other=other, notes=notes))
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    figures = [dataclasses.asdict(each) for each in comparisons]
    (build / "bench-against.json").write_text(json.dumps({"against": other, "figures": figures}, indent=2) + "\n")
    worse = [each for each in comparisons if each.verdict is comparison.Verdict.WORSE]
    for each in worse:
        sys.stderr.write(
            f"worse than {other}: {each.name}, {each.ratio:.2f} times ({each.low:.2f} to {each.high:.2f})\n"
        )
    return 1 if worse else 0


def _keep(path: Path, figures: dict[str, Any]) -> None:
    """Write the figures; those of parts that were not measured now stay as they are."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(kept | figures, indent=2) + "\n")


def main() -> int:
    """Run the benchmark or the comparison and return the exit code.

    Missed goals of the benchmark are printed on standard error; the exit code is 0 all the same.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", default=list(report.PARTS), help=f"parts to run, of {', '.join(report.PARTS)}; default all"
    )
    parser.add_argument("--quick", action="store_true", help="one short round each: to see that it works, not to quote")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--against", metavar="COMMIT", help="compare this checkout with a commit; writes no page")
    parser.add_argument(
        "--rounds",
        type=int,
        default=against.ROUNDS,
        metavar="N",
        help=f"rounds of --against, at least {against.MIN_ROUNDS}; default {against.ROUNDS}",
    )
    arguments = parser.parse_args()
    if arguments.rounds < against.MIN_ROUNDS:
        parser.error(f"--rounds {arguments.rounds}: fewer than {against.MIN_ROUNDS} rounds say nothing about noise")
    if arguments.against:
        return compare_with(arguments.against, rounds=arguments.rounds)
    unknown = set(arguments.parts) - set(report.PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(report.PARTS)}")
    began = time.monotonic()
    results = run(arguments.parts, quick=arguments.quick)
    figures = report.figures(results)
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    (build / "bench-details.json").write_text(json.dumps(results, indent=2) + "\n")
    _keep(build / "bench.json", figures)
    table = report.table(results, machine.describe(), seconds=time.monotonic() - began)
    sys.stdout.write(table)
    if arguments.write_docs:
        report.write(ROOT / "docs" / "performance.md", table)
    missed = report.missed(figures)
    for line in missed:
        sys.stderr.write(f"missed: {line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
