"""Hazard: a student says one word for what staff see under another, so that neither finds what the other means."""

import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\|[^|]+\|[^|]+\| (\S+) \| ([^|]+) \|$",
    (REPOSITORY / "docs/dev/glossary.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1:]
LAB = "packages/jupyterlab-cell-monitor/jupyterlab_cell_monitor/locale/ja_JP/LC_MESSAGES/jupyterlab_cell_monitor.json"


def texts(tree):
    if isinstance(tree, str):
        return [tree]
    return [text for part in (tree.values() if isinstance(tree, dict) else tree) for text in texts(part)]


def catalogue(path):
    return json.loads((REPOSITORY / path).read_text(encoding="utf-8"))


DASHBOARD = catalogue("dashboard/src/i18n/ja.json")
# The one place where roles are meant as such.
ROLES = set(DASHBOARD.pop("role").values())
CATALOGUES = {"dashboard": texts(DASHBOARD), "jupyterlab": texts(catalogue(LAB))}
PAGES = sorted((REPOSITORY / "docs/user").glob("*.ja.md"))


def test_there_is_a_glossary():
    assert len(ROWS) >= 6
    assert len(PAGES) >= 2
    assert "教員" in ROLES


@pytest.mark.parametrize("name", CATALOGUES)
@pytest.mark.parametrize(("word", "others"), ROWS, ids=[word for word, _ in ROWS])
def test_both_catalogues_have_one_word_for_one_thing(name, word, others):
    for other in others.split(", "):
        assert [text for text in CATALOGUES[name] if other in text] == [], f"say {word}"


# Students are not told when a request is closed: the button is as before.
@pytest.mark.parametrize("word", [word for word, _ in ROWS if word != "解決済み"])
def test_students_and_staff_read_the_same_word(word):
    for name, found in CATALOGUES.items():
        # Without the verb's ending, which sentences change.
        assert any(word.removesuffix("る") in text for text in found), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize(("word", "others"), ROWS, ids=[word for word, _ in ROWS])
def test_pages_say_what_the_screens_say(page, word, others):
    lines = page.read_text(encoding="utf-8").splitlines()
    for other in set(others.split(", ")) - ROLES:
        assert [line for line in lines if other in line] == [], f"say {word}"
