"""Hazard: students and staff see different terms for the same thing."""

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
# The only place that names the roles.
ROLES = set(DASHBOARD.pop("role").values())
CATALOGUES = {"dashboard": texts(DASHBOARD), "jupyterlab": texts(catalogue(LAB))}
PAGES = sorted((REPOSITORY / "docs/user").glob("*.ja.md"))


def test_the_glossary_has_terms():
    assert len(ROWS) >= 6
    assert len(PAGES) >= 2
    assert "教員" in ROLES


@pytest.mark.parametrize("name", CATALOGUES)
@pytest.mark.parametrize(("word", "others"), ROWS, ids=[word for word, _ in ROWS])
def test_both_catalogues_use_the_terms_of_the_glossary(name, word, others):
    for other in others.split(", "):
        assert [text for text in CATALOGUES[name] if other in text] == [], f"use {word}"


def test_the_words_for_students_are_those_of_the_dashboard():
    text = (REPOSITORY / "docs/dev/glossary.md").read_text(encoding="utf-8").partition("## Words for students")[2]
    words = re.findall(r"^\| ([a-z ]+) \| ([^|]+) \| .+ \|$", text, re.MULTILINE)
    assert len(words) == 9
    english, japanese = (catalogue(f"dashboard/src/i18n/{language}.json") for language in ("en", "ja"))
    shown = {key: (english["status"][key].lower(), japanese["status"][key]) for key in english["status"]}
    shown["active"] = (english["course"]["active"].lower(), japanese["course"]["active"])
    for word, terms in words:
        assert any(word == en and ja in terms.split(", ") for en, ja in shown.values()), word
    # The figure, the filter and the status of a word are the same text.
    for tree in (english, japanese):
        for figure, condition in (("running", "running"), ("stuck", "stuck"), ("left", "left")):
            assert tree["course"][figure] == tree["students"]["filters"][condition] == tree["status"][condition]
        for condition in ("longRun", "kernelDied", "idle"):
            assert tree["students"]["filters"][condition] == tree["status"][condition]
        assert tree["course"]["active"] == tree["students"]["filters"]["active"]


# Students see no message when a request is closed: the button returns to its initial text.
@pytest.mark.parametrize("word", [word for word, _ in ROWS if word != "解決済み"])
def test_both_catalogues_contain_each_term(word):
    for name, found in CATALOGUES.items():
        # Without the ending of the verb, which is inflected in sentences.
        assert any(word.removesuffix("る") in text for text in found), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize(("word", "others"), ROWS, ids=[word for word, _ in ROWS])
def test_pages_use_the_terms_of_the_glossary(page, word, others):
    lines = page.read_text(encoding="utf-8").splitlines()
    for other in set(others.split(", ")) - ROLES:
        assert [line for line in lines if other in line] == [], f"use {word}"
