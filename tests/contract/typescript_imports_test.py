"""Hazard: two TypeScript files that need each other.

ESLint (``import-x/no-cycle``) finds cycles of values. It leaves out type imports, which disappear when the code is
compiled, but not for who reads or changes it.
"""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = ["dashboard/src", "packages/jupyterlab-cell-monitor/src"]
IMPORT = re.compile(r"""\b(?:from|import)\s*\(?\s*['"](\.[^'"]*)['"]""")
ENDINGS = [".ts", ".tsx", "/index.ts", ""]


def resolved(path: Path) -> Path:
    """Return the file that an import of ``path`` reads; raise FileNotFoundError if there is none."""
    for ending in ENDINGS:
        found = Path(f"{path}{ending}")
        if found.is_file():
            return found.resolve()
    raise FileNotFoundError(path)


def imports(path: Path) -> list[Path]:
    """Return the files that a file imports by a relative path."""
    return [resolved(path.parent / name) for name in IMPORT.findall(path.read_text(encoding="utf-8"))]


def cycle(graph: dict[Path, list[Path]]) -> list[Path]:
    """Return the files of one cycle; empty if there is none."""
    done: set[Path] = set()

    def search(path: Path, trail: list[Path]) -> list[Path]:
        if path in trail:
            return trail[trail.index(path) :]
        if path in done:
            return []
        found = next(filter(None, (search(imported, [*trail, path]) for imported in graph.get(path, []))), [])
        done.add(path)
        return found

    return next(filter(None, (search(path, []) for path in graph)), [])


@pytest.mark.parametrize("folder", SOURCES)
def test_no_files_import_each_other_types_included(folder):
    files = [path.resolve() for path in (REPOSITORY / folder).rglob("*.ts*") if not path.name.endswith(".d.ts")]
    graph = {path: imports(path) for path in files}
    assert sum(map(len, graph.values())) > 50
    assert [path.name for path in cycle(graph)] == []


def test_a_cycle_is_found():
    a, b, c = Path("a"), Path("b"), Path("c")
    assert cycle({a: [b], b: [c], c: [b]}) == [b, c]
    assert cycle({a: [b, c], b: [c]}) == []
