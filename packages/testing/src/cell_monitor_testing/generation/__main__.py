"""Writes every generated file of the repository; ``--check`` writes nothing and fails where one would change."""

from __future__ import annotations

import argparse
import difflib
import sys

from cell_monitor_testing.generation.files import GENERATED, REPOSITORY, DashboardTypesError

_SHOWN_LINES = 12


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cell_monitor_testing.generation", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check: bool = parser.parse_args().check
    stale = []
    for file in GENERATED:
        path = REPOSITORY / file.path
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        try:
            after = file.render(before)
        except DashboardTypesError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        if after == before:
            continue
        stale.append(file.path)
        if check:
            _show(file.path, before, after)
        else:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"wrote {file.path}\n")
    if check and stale:
        sys.stderr.write(
            f"{len(stale)} generated file(s) are not what the sources say: {', '.join(stale)}\n"
            "Run `make generate` and commit what it changes.\n"
        )
        return 1
    return 0


def _show(path: str, before: str, after: str) -> None:
    """Print the first lines that differ."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path} (committed)", f"{path} (generated)", lineterm="", n=0
    )
    for _, line in zip(range(_SHOWN_LINES), lines, strict=False):
        sys.stderr.write(f"{line[:200]}\n")


if __name__ == "__main__":
    sys.exit(main())
