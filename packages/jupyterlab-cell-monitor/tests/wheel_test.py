"""The wheel alone, without Node, gives a Jupyter both halves, in both languages."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.timeout(900)

_PACKAGE = Path(__file__).parent.parent


def run(*command: str | Path, path: str | None = None) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CELL_MONITOR", "JUPYTER"))
    }
    if path is not None:
        environment["PATH"] = path
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, cwd="/", check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # jlpm and jupyter-builder are in the same folder as this interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, _PACKAGE, path=path)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_both_halves_and_nothing_that_is_for_developers(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    data = "jupyterlab_cell_monitor-0.1.0.data/data"
    extension = f"{data}/share/jupyter/labextensions/jupyterlab-cell-monitor"
    assert f"{extension}/package.json" in names
    assert f"{extension}/install.json" in names
    assert f"{extension}/schemas/jupyterlab-cell-monitor/plugin.json" in names
    assert f"{extension}/schemas/jupyterlab-cell-monitor/help.json" in names
    assert any(name.startswith(f"{extension}/static/remoteEntry") for name in names)
    assert f"{data}/etc/jupyter/jupyter_server_config.d/jupyterlab_cell_monitor.json" in names
    assert "jupyterlab_cell_monitor/app.py" in names
    assert "jupyterlab_cell_monitor/py.typed" in names
    assert "jupyterlab_cell_monitor/locale/ja_JP/LC_MESSAGES/jupyterlab_cell_monitor.json" in names
    assert not [name for name in names if re.search(r"node_modules|\.map$|/src/|\.ts$|test|yarn|\.pyc$", name)]


def test_pip_alone_enables_both_halves_without_node(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, "jupyterlab>=4,<5", "jupyterlab-language-pack-ja-JP")
    # Only this environment's programs: no Node, no jlpm of ours.
    path = str(home / "bin")
    assert re.search(
        r"jupyterlab-cell-monitor v0\.1\.0 \S*enabled\S* \S*OK", run(path + "/jupyter-labextension", "list", path=path)
    )
    listed = run(path + "/jupyter-server", "extension", "list", path=path)
    assert re.search(r"jupyterlab_cell_monitor 0\.1\.0 \S*OK", listed), listed
    assert "cell_monitor_core" not in run(python, "-m", "pip", "list")

    token = secrets.token_hex(16)
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                python,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.port=0",
                "--ServerApp.ip=127.0.0.1",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={"PATH": path, "HOME": str(tmp_path), "JUPYTER_TOKEN": token, "LANG": "C.UTF-8"},
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text("utf-8", "replace"))):
            assert server.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.1)
        with httpx.Client(
            base_url=found[0], headers={"Authorization": f"token {token}"}, timeout=60, trust_env=False
        ) as client:
            assert client.get("/cell-monitor/status").json()["state"] == "not_joined"
            page = client.get("/lab").text
            extensions = json.loads(re.search(r'"federated_extensions": (\[.*?\}\])', page, re.DOTALL)[1])  # type: ignore[index]
            assert "jupyterlab-cell-monitor" in [extension["name"] for extension in extensions]
            data = client.get("/lab/api/translations/ja_JP").json()["data"]
            japanese = data["jupyterlab_cell_monitor"]
            assert japanese["Ask for help"] == ["ヘルプを求める"]
            # JupyterLab looks up translations by this name: with another spelling they are never shown.
            assert japanese[""]["language"] == data["jupyterlab"][""]["language"]
    finally:
        server.terminate()
        server.wait(30)
