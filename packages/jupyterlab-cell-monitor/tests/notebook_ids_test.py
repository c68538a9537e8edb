"""Hazards: two notebooks under one id, or one notebook under two, after any order of renames, copies, moves and reloads."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyterlab_cell_monitor.notebook_ids import FileSignature, NotebookIds, Proposal

NAMES = ["a.ipynb", "b.ipynb", "f/a.ipynb", "f/b.ipynb", "Untitled.ipynb"]


class Disk:
    """The notebooks of a student: by path, which file is there and the id in its metadata."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, tuple[int, str | None]] = {}
        self.made = 0

    def ids(self) -> NotebookIds:
        # A new object each time: what is known must be on the disk, as after a restart of the server.
        return NotebookIds(self.directory, "/home/ann", self._exists)

    async def _exists(self, path: str, was_here: bool) -> bool:
        return path in self.files

    def create(self, path: str, named: str | None = None) -> None:
        self.made += 1
        self.files[path] = (self.made, named)

    def open(self, path: str, **fields: Any) -> str:
        number, named = self.files[path]
        # The id that the page proposes: that in the metadata, else one that only the path decides.
        proposal = Proposal(
            path, named or f"path-{path}", named=named is not None, shared="Untitled" not in path, **fields
        )
        return asyncio.run(self.ids().open(proposal, FileSignature(number, 1)))


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def rename(disk: Disk, source: str, target: str) -> None:
    disk.files[target] = disk.files.pop(source)
    asyncio.run(disk.ids().moved(source, target))


def test_new_notebooks_that_are_renamed_one_after_the_other_are_two(disk: Disk) -> None:
    ids = []
    for name in ("task1.ipynb", "task2.ipynb"):
        disk.create("Untitled.ipynb")
        ids.append(disk.open("Untitled.ipynb"))
        rename(disk, "Untitled.ipynb", name)
    assert ids[0] != ids[1]
    assert [disk.open("task1.ipynb"), disk.open("task2.ipynb")] == ids


def test_new_notebooks_of_two_students_are_not_the_same(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Disk(tmp_path_factory.mktemp("other"))
    for one in (disk, other):
        one.create("Untitled.ipynb")
        one.create("week1.ipynb")
        one.create("week2.ipynb", "week-2")
    assert disk.open("Untitled.ipynb") != other.open("Untitled.ipynb")
    # What both were given is one assignment.
    assert disk.open("week1.ipynb") == other.open("week1.ipynb")
    assert disk.open("week2.ipynb") == other.open("week2.ipynb") == "week-2"


def test_a_copy_of_a_named_notebook_is_a_notebook_of_its_own(disk: Disk) -> None:
    disk.create("week1.ipynb", "week-1")
    assert disk.open("week1.ipynb") == "week-1"
    disk.create("week1-Copy1.ipynb", "week-1")
    copy = disk.open("week1-Copy1.ipynb")
    assert copy != "week-1"
    assert copy.startswith("week-1~")
    assert (disk.open("week1.ipynb"), disk.open("week1-Copy1.ipynb")) == ("week-1", copy)
    # The original is deleted: what was the copy stays what it was.
    del disk.files["week1.ipynb"]
    asyncio.run(disk.ids().deleted("week1.ipynb"))
    assert disk.open("week1-Copy1.ipynb") == copy
    # Distributed again, it is the assignment again.
    disk.create("week1.ipynb", "week-1")
    assert disk.open("week1.ipynb") == "week-1"


def test_a_folder_that_is_moved_keeps_the_ids_of_its_notebooks(disk: Disk) -> None:
    disk.create("f/a.ipynb")
    disk.create("fa.ipynb")
    inside, beside = disk.open("f/a.ipynb"), disk.open("fa.ipynb")
    disk.files["g/h/a.ipynb"] = disk.files.pop("f/a.ipynb")
    asyncio.run(disk.ids().moved("f", "g/h"))
    disk.create("f/a.ipynb")
    assert disk.open("g/h/a.ipynb") == inside
    assert disk.open("f/a.ipynb") != inside
    assert disk.open("fa.ipynb") == beside


def test_a_file_that_another_program_moved_is_found_by_its_signature(disk: Disk) -> None:
    disk.create("a.ipynb")
    before = disk.open("a.ipynb")
    disk.files["f/a.ipynb"] = disk.files.pop("a.ipynb")
    assert disk.open("f/a.ipynb") == before
    # A file of the same inode number that was written at another time is another file.
    number, _ = disk.files.pop("f/a.ipynb")
    disk.files["b.ipynb"] = (number, None)
    proposal = Proposal("b.ipynb", "path-b.ipynb")
    assert asyncio.run(disk.ids().open(proposal, FileSignature(number, 2))) == "path-b.ipynb"


def test_a_new_file_at_the_path_of_another_is_another_notebook(disk: Disk) -> None:
    disk.create("exercise.ipynb", "week-1")
    assert disk.open("exercise.ipynb") == "week-1"
    disk.create("exercise.ipynb", "week-2")
    assert disk.open("exercise.ipynb") == "week-2"


def test_a_file_that_was_moved_to_the_path_of_a_removed_one_keeps_its_id(disk: Disk) -> None:
    disk.create("a.ipynb")
    disk.create("f/b.ipynb")
    assert (disk.open("a.ipynb"), disk.open("f/b.ipynb")) == ("path-a.ipynb", "path-f/b.ipynb")
    # `mv f/b.ipynb a.ipynb` in a terminal.
    disk.files["a.ipynb"] = disk.files.pop("f/b.ipynb")
    assert disk.open("a.ipynb") == "path-f/b.ipynb"


def test_what_an_earlier_extension_remembered_is_taken_over_once(disk: Disk) -> None:
    disk.create("task1.ipynb")
    disk.create("task2.ipynb")
    assert disk.open("task1.ipynb", remembered="path-old") == "path-old"
    # The fault of that extension: both had been given the same id.
    assert disk.open("task2.ipynb", remembered="path-old") == "path-task2.ipynb"
    assert disk.open("task1.ipynb") == "path-old"


def test_an_id_stays_within_its_length(disk: Disk) -> None:
    disk.create("a.ipynb", "x" * 128)
    disk.create("b.ipynb", "x" * 128)
    assert (disk.open("a.ipynb"), len(disk.open("b.ipynb"))) == ("x" * 128, 128)
    assert disk.open("b.ipynb") != disk.open("a.ipynb")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a.ipynb": 3, "b.ipynb": {"id": "b", "named": null, "file": [1]}}']
)
def test_a_damaged_file_costs_the_memory_and_nothing_else(disk: Disk, content: str) -> None:
    disk.create("a.ipynb")
    before = disk.open("a.ipynb")
    (stored,) = disk.directory.glob("notebooks-*.json")
    stored.write_text(content)
    assert disk.open("a.ipynb") == before


def test_two_roots_do_not_share_paths(disk: Disk) -> None:
    async def exists(_: str, was_here: bool) -> bool:
        return True

    other = NotebookIds(disk.directory, "/elsewhere", exists)
    assert asyncio.run(other.open(Proposal("a.ipynb", "path-1", remembered="mine"), None)) == "mine"
    disk.create("a.ipynb")
    assert disk.open("a.ipynb") == "path-a.ipynb"


def test_the_cells_of_a_notebook_are_kept_for_the_next_browser(disk: Disk) -> None:
    cells = [["position-0", "x", "hash", 1]]
    disk.ids().remember("week-1", cells)
    assert disk.ids().cells("week-1") == cells
    assert disk.ids().cells("week-2") is None
    disk.ids().remember("week-1", None)
    assert disk.ids().cells("week-1") is None
    stored = [path for path in disk.directory.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in stored)


def test_the_ids_of_a_student_with_many_notebooks_stay_bounded(disk: Disk) -> None:
    (disk.directory / "unused").mkdir()
    entries = {f"{n}.ipynb": {"id": f"id-{n}", "named": None, "file": None} for n in range(2000)}
    disk.create("a.ipynb")
    disk.open("a.ipynb")
    (stored,) = disk.directory.glob("notebooks-*.json")
    stored.write_text(json.dumps(entries))
    disk.open("a.ipynb")
    kept = json.loads(stored.read_text())
    assert len(kept) == 2000
    assert "a.ipynb" in kept


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(NAMES), st.sampled_from([None, None, "week-1"])),
        st.tuples(st.sampled_from(["rename", "mv", "copy", "save as"]), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["delete", "rm", "open"]), st.sampled_from(NAMES), st.none()),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=150)
def test_whatever_is_done_to_files_no_two_share_an_id_and_none_has_two(
    steps: list[tuple[str, str, str | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder))
        known: dict[int, str] = {}
        for step, path, other in steps:
            if step == "create":
                if path not in disk.files:
                    disk.create(path, other)
            elif path not in disk.files:
                continue
            elif step in {"delete", "rm"}:
                del disk.files[path]
                if step == "delete":
                    asyncio.run(disk.ids().deleted(path))
            elif step == "open":
                pass
            elif other in disk.files:
                continue
            elif step in {"rename", "mv"}:
                assert other is not None
                disk.files[other] = disk.files.pop(path)
                if step == "rename":
                    asyncio.run(disk.ids().moved(path, other))
            else:
                assert other is not None
                disk.create(other, disk.files[path][1])
            # A file that was never opened has no id that could be kept, so each is opened after each step.
            for name, (number, _) in sorted(disk.files.items()):
                identity = disk.open(name)
                assert known.setdefault(number, identity) == identity
            ids = [known[number] for number, _ in disk.files.values()]
            assert len(set(ids)) == len(ids)
