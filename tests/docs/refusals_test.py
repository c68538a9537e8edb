"""Hazards: a code without a remedy in the docs; a sentence there that JupyterLab does not show, in English or Japanese."""

import json
import re
from pathlib import Path

import pytest

from cell_monitor_core.events.reasons import Reason
from jupyterlab_cell_monitor.joining import JOIN_ENDED
from jupyterlab_cell_monitor.monitor_answers import ADDRESS_WRONG, KEY_REFUSED, REQUEST_INTERCEPTED
from jupyterlab_cell_monitor.refusals import SENTENCES

REPOSITORY = Path(__file__).parents[2]
EXTENSION = REPOSITORY / "packages/jupyterlab-cell-monitor"
PAGE = (REPOSITORY / "docs/operations/refusals.md").read_text(encoding="utf-8")
CATALOGUE = json.loads(
    (EXTENSION / "jupyterlab_cell_monitor/locale/ja_JP/LC_MESSAGES/jupyterlab_cell_monitor.json").read_text("utf-8")
)
WORDING = (EXTENSION / "src/status/wording.ts").read_text(encoding="utf-8")
ROWS = [
    line.strip("|").split(" | ")
    for line in PAGE.split("## Refused by the API")[1].split("## Alerts")[0].splitlines()
    if line.startswith("| ")
]


@pytest.mark.parametrize(
    "code",
    [
        *Reason,
        *SENTENCES,
        ADDRESS_WRONG,
        KEY_REFUSED,
        REQUEST_INTERCEPTED,
        JOIN_ENDED,
        "not_joined",
        "not_configured",
        "monitor_off",
    ],
)
def test_every_code_is_on_the_page(code):
    if code != "other":  # what a newer release may add
        assert f"`{code}`" in PAGE


@pytest.mark.parametrize("code", re.findall(r"case '([a-z]+_[a-z_]+)'", WORDING))
def test_every_code_that_jupyterlab_shows_is_on_the_page_in_both_languages(code):
    [row] = [row for row in ROWS if any(f"`{code}`" in field for field in row[:2])]
    text = " ".join(row)
    shown = [english for english in CATALOGUE if english and english in text]
    if "the same" in text:
        return
    assert shown, f"the page has no sentence that JupyterLab shows for {code}"
    assert any(CATALOGUE[english][0] in text for english in shown)


def test_every_sentence_about_refusals_is_on_the_page():
    sentences = {text for text in re.findall(r"'([^'\n]{50,})'", WORDING) if "recorded" in text or "lost" in text}
    assert len(sentences) > 8
    elsewhere = {
        "Nothing is recorded until you resume. Asking for help still works.",
        # The same as "Some of what you do …" on the page, where all events are concerned.
        "Nothing you do here is recorded: the monitor cannot read it. Tell the person who runs your JupyterLab.",
    }
    assert [sentence for sentence in sentences - elsewhere if sentence not in PAGE] == []
