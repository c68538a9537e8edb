"""Hazards: the ids of notebooks are given to strangers, lost with a rename or a restart, or cost more than their bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from cell_monitor_testing.jupyter_page import cell, notebook
from cell_monitor_testing.jupyter_process import start_jupyter

ADDRESS = "/cell-monitor/notebooks"


def opened(page: httpx.Client, path: str, proposed: str, **fields: Any) -> dict[str, Any]:
    answer = page.post(ADDRESS, json={"path": path, "id": proposed, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_notebook_keeps_its_id_and_what_is_known_of_its_cells(jupyter: Callable[..., Any]) -> None:
    server = jupyter()
    home = Path(server.log.parent)
    (home / "week").mkdir()
    (home / "week/a.ipynb").write_text(notebook(cell("code", "1", "first"), cell("code", "2", "first")))
    without_ids = json.loads(notebook(cell("code", "1", "x"), cell("code", "2", "y")))
    del without_ids["cells"][0]["id"]
    (home / "generated.ipynb").write_text(json.dumps(without_ids))
    (home / "old.ipynb").write_text(json.dumps({**without_ids, "nbformat_minor": 4}))
    (home / "script.py").write_text("print(1)")
    (home / "broken.ipynb").write_text('{"nbformat": 4, "nbformat_minor": 5, "cells": 7}')
    with server.client() as page, server.client(signed_in=False) as stranger:
        assert stranger.post(ADDRESS, json={"path": "week/a.ipynb", "id": "x"}).status_code == 403
        assert stranger.put(ADDRESS, json={"notebook_id": "x", "cells": None}).status_code == 403

        answer = opened(page, "week/a.ipynb", "week-1", named=True)
        assert answer == {"notebook_id": "week-1", "cell_ids": ["first", "first"], "cells": None}
        cells = [["position-0", "first", "hash", 1], ["position-1", "other", "hash", 0]]
        assert page.put(ADDRESS, json={"notebook_id": "week-1", "cells": cells}).status_code == 200
        assert opened(page, "week/a.ipynb", "week-1", named=True)["cells"] == cells

        # A copy, as the file browser makes it.
        copied = page.post("/api/contents/week", json={"copy_from": "week/a.ipynb"}).json()["path"]
        copy = opened(page, copied, "week-1", named=True)
        assert copy["notebook_id"].startswith("week-1~")
        assert copy["cells"] is None

        # Renamed with its folder, by a client that is no page of ours.
        assert page.patch("/api/contents/week", json={"path": "moved"}).status_code == 200
        moved = opened(page, "moved/a.ipynb", "week-1", named=True)
        assert (moved["notebook_id"], moved["cells"]) == ("week-1", cells)
        assert (
            opened(page, copied.replace("week/", "moved/"), "week-1", named=True)["notebook_id"] == copy["notebook_id"]
        )

        # Which ids are the file's own.
        assert opened(page, "generated.ipynb", "g")["cell_ids"] == [None, "y"]
        assert opened(page, "old.ipynb", "o")["cell_ids"] == []
        assert opened(page, "script.py", "s")["cell_ids"] == []
        assert opened(page, "broken.ipynb", "b")["cell_ids"] == []
        assert opened(page, "missing.ipynb", "m")["cell_ids"] is None
        assert opened(page, "../../etc/passwd", "e")["cell_ids"] is None
        assert opened(page, "s3:bucket/a.ipynb", "d") == {"notebook_id": "d", "cell_ids": None, "cells": None}

        # A colon ends the name of a drive of the front end; here it is in the name of a file.
        (home / "Week 1: a.ipynb").write_text((home / "generated.ipynb").read_text())
        assert opened(page, "Week 1: a.ipynb", "w")["cell_ids"] == [None, "y"]
        (home / "Week 1: a.ipynb").rename(home / "Week 2: a.ipynb")
        assert opened(page, "Week 2: a.ipynb", "elsewhere")["notebook_id"] == "w"

        # Deleted and written again.
        assert page.delete("/api/contents/old.ipynb").status_code == 204
        (home / "old.ipynb").write_text("{}")
        assert opened(page, "old.ipynb", "o")["notebook_id"] == "o"

        # Saved by Jupyter, which writes another file, and then moved by another program.
        model = page.get("/api/contents/generated.ipynb").json()
        saved = page.put("/api/contents/generated.ipynb", json={"type": "notebook", "content": model["content"]})
        assert saved.status_code == 200
        deadline = time.monotonic() + 20
        stored = home / "data/cell-monitor/notebooks"
        status = (home / "generated.ipynb").stat()
        signature = [status.st_ino, status.st_mtime_ns]
        # Read as JSON: the digits of a small inode number are also somewhere in the times of other files.
        while not any(
            json.loads(path.read_text())["generated.ipynb"]["file"] == signature
            for path in stored.glob("notebooks-*.json")
        ):
            assert time.monotonic() < deadline, "the signature of the saved file was not stored"
            time.sleep(0.05)
        (home / "generated.ipynb").rename(home / "moved/generated.ipynb")
        assert opened(page, "moved/generated.ipynb", "elsewhere")["notebook_id"] == "g"

        for body in [
            b"{",
            b"[]",
            json.dumps({"path": "", "id": "x"}).encode(),
            json.dumps({"path": "a", "id": "x" * 129}).encode(),
            json.dumps({"path": "a" * 4097, "id": "x"}).encode(),
            b'{"path": "a", "id": "x", "moved_from": 3}',
            b" " * (1024 * 1024) + b"{}",
            b"[" * 100_000,
        ]:
            assert page.post(ADDRESS, content=body).json()["detail"][0]["type"] == "invalid_body"
        for refused in [
            7,
            [7],
            [["a", "b", "c"]],
            [["a", "b", "c", 2]],
            [["a", "b", "x" * 129, 1]],
            [["a", "b", "c", 1]] * 4001,
        ]:
            answer = page.put(ADDRESS, json={"notebook_id": "n", "cells": refused})
            assert (answer.status_code, answer.json()["detail"][0]["type"]) == (400, "invalid_body")
        assert [path.name for path in (home / "data/cell-monitor").iterdir() if path.name == "notebooks"] == [
            "notebooks"
        ]


def test_a_data_directory_that_cannot_be_written_to_is_said_and_breaks_nothing(jupyter: Callable[..., Any]) -> None:
    server = jupyter()
    home = Path(server.log.parent)
    (home / "a.ipynb").write_text(notebook(cell("code", "1", "first")))
    (home / "data").mkdir(exist_ok=True)
    # A file where the directory should be: also root cannot write there.
    (home / "data/cell-monitor").write_text("")
    with server.client() as page:
        answer = page.post(ADDRESS, json={"path": "a.ipynb", "id": "a"})
        assert (answer.status_code, answer.json()["detail"][0]["type"]) == (503, "storage_unavailable")
        assert page.get("/api/contents/a.ipynb").status_code == 200
        assert page.patch("/api/contents/a.ipynb", json={"path": "b.ipynb"}).status_code == 200


def test_a_new_notebook_is_no_others_however_the_server_names_new_ones(jupyter: Callable[..., Any]) -> None:
    server = jupyter(options=["--ContentsManager.untitled_notebook=Neu"])
    with server.client() as page:
        path = page.post("/api/contents", json={"type": "notebook"}).json()["path"]
        assert path == "Neu.ipynb"
        assert opened(page, path, "path-1")["notebook_id"].startswith("path-1~")
        script = page.post("/api/contents", json={"type": "file", "ext": ".py"}).json()["path"]
        assert opened(page, script, "path-2")["notebook_id"].startswith("path-2~")
        assert opened(page, "Neuland.ipynb", "path-3")["notebook_id"] == "path-3"


def test_ids_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    found = []
    (tmp_path / "Untitled.ipynb").write_text(notebook(cell("code", "1", "first")))
    for _ in range(2):
        server = start_jupyter(tmp_path)
        try:
            with server.client() as page:
                found.append(opened(page, "Untitled.ipynb", "path-1", shared=False)["notebook_id"])
        finally:
            server.stop()
    assert found[0] == found[1]
    assert found[0].startswith("path-1~")
