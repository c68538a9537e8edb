"""Cell Monitor for JupyterLab and Notebook 7: the front end's place, and the Jupyter Server half."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("jupyterlab-cell-monitor")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0"

__all__ = ["__version__"]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyterlab-cell-monitor"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .app import CellMonitorApp  # noqa: PLC0415 - the version must be readable without loading the server half

    return [{"module": "jupyterlab_cell_monitor", "app": CellMonitorApp}]
