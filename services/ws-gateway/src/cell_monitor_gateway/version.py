"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["VERSION"]

VERSION = version("cell-monitor-gateway")
