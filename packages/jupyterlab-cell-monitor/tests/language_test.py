"""A student who reads Japanese finds Japanese in the settings too; the toolbar stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

import jupyterlab_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_LOCALE = Path(jupyterlab_cell_monitor.__file__).parent / "locale/ja_JP/LC_MESSAGES/jupyterlab_cell_monitor.json"
_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_LANGUAGE = "@jupyterlab/translation-extension:plugin"
_SETTINGS = "jupyterlab-cell-monitor:plugin"


def give_the_catalogue(route: Route) -> None:
    """Answer as Jupyter's server does where a language pack is installed."""
    data = {"jupyterlab_cell_monitor": json.loads(_LOCALE.read_text("utf-8"))}
    route.fulfill(json={"data": data, "message": ""})


def test_the_settings_are_japanese_where_the_page_is_and_nothing_asks_for_a_reload(
    chromium: Any, jupyter: Callable[..., Any], api: Any
) -> None:
    server = jupyter(
        environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": "test-key"},
        options=["--LabApp.expose_app_in_browser=True"],
    )
    (server.log.parent / "week1.ipynb").write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": _KERNEL}, "cells": []}), "utf-8"
    )
    with server.client() as client:
        client.put(f"/lab/api/settings/{_LANGUAGE}", json={"raw": '{"locale": "ja_JP"}'}).raise_for_status()
        # What the server sends is English still: Jupyter translates schemas with the language packs alone.
        schema = client.get(f"/lab/api/settings/{_SETTINGS}").json()["schema"]
        assert schema["properties"]["course"]["title"] == "Course"
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.route("**/lab/api/translations/ja_JP*", give_the_catalogue)
    page.goto(f"{server.url}/lab/tree/week1.ipynb?token={server.token}")
    expect(page.locator(".jp-CellMonitor-status")).to_have_text("モニター: 記録中", timeout=60_000)
    expect(page.locator(".jp-CellMonitor-helpItem")).to_contain_text("ヘルプを求める")

    page.wait_for_function("() => !!window.jupyterapp")
    page.evaluate("() => void window.jupyterapp.commands.execute('settingeditor:open', { query: 'セルモニター' })")
    editor = page.locator("#setting-editor")
    editor.locator(".jp-PluginList-entry", has_text="セルモニター").click()
    form = editor.locator(".jp-SettingsPanel")
    for text in ("記録を一時停止", "オフに戻すまで何も記録されません。", "授業", "すべての通信を追跡"):
        expect(form).to_contain_text(text)
    # One entry, for the schema of the toolbar's button holds nothing to set.
    expect(editor.locator(".jp-PluginList-entry", has_text="セルモニター")).to_have_count(1)
    expect(editor.locator(".jp-PluginList-entry", has_text="Cell Monitor")).to_have_count(0)
    # What is set there still pauses the recording, and saving leaves the words Japanese.
    # What was saved is read back, in English.
    with page.expect_response(lambda response: response.request.method == "GET" and _SETTINGS in response.url):
        form.get_by_label("記録を一時停止").check()
    expect(page.locator(".jp-CellMonitor-status")).to_have_text("モニター: 一時停止中")
    expect(form).to_contain_text("オフに戻すまで何も記録されません。")
    assert page.locator(".jp-Dialog").count() == 0
    context.close()
