"""Hazard: an entry of JupyterLab's log has the token that signs in, or is not written at all."""

from __future__ import annotations

import logging

import pytest

from cell_monitor.jupyter_log import TokenFilter


@pytest.mark.parametrize(
    ("said", "arguments", "written"),
    [
        (
            "%d %s: %s",
            (404, "GET /a?x=1&token=T0KEN&y=2 (127.0.0.1)", "no"),
            "404 GET /a?x=1&token=[secret]&y=2 (127.0.0.1): no",
        ),
        ("%r", ({"uri": "/lab?token=T0KEN"},), "{'uri': '/lab?token=[secret]'}"),
        ("/a?access_token=T0KEN#b", (), "/a?access_token=[secret]#b"),
        ("100 % of /a?b=c", (), "100 % of /a?b=c"),
        ("%d kernels", (2,), "2 kernels"),
    ],
)
def test_an_entry_is_kept_without_its_token(said: str, arguments: tuple[object, ...], written: str) -> None:
    record = logging.LogRecord("tornado.general", logging.WARNING, __file__, 1, said, arguments, None)
    assert TokenFilter().filter(record)
    assert record.getMessage() == written
