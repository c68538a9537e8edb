"""Hazard: a list of the sources of memberships, or of those who act, misses one, and readers take it for one that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cell_monitor_api.models.audit import AuditEntryAnswer
from cell_monitor_core.auth.audit import ActorKind
from cell_monitor_core.storage.postgres.memberships import Source

REPOSITORY = Path(__file__).parents[2]
LISTS = {
    "docs/adr/0015-people-identities-memberships.md": r"\*\*Memberships\*\* have a source \(([^)]+)\)",
    "docs/dev/glossary-developers.md": r"Where a membership comes from: ([^.]+)\.",
}


@pytest.mark.parametrize("page", LISTS)
def test_each_list_of_sources_of_memberships_names_all(page: str) -> None:
    found = re.search(LISTS[page], (REPOSITORY / page).read_text(encoding="utf-8"))
    assert found is not None
    assert set(re.findall(r"[a-z]+", found[1])) - {"or"} == set(Source)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/user/instructor.md", ("this list", "JupyterHub", "learning platform", "sign-in service", "join code")),
        ("docs/user/instructor.ja.md", ("この一覧", "JupyterHub", "学習管理システム", "認証サービス", "参加コード")),
        ("docs/security.md", ("roster", "Hub", "learning platform", "OpenID Connect provider", "join code")),
    ],
)
def test_what_people_read_names_all_of_them(page: str, names: tuple[str, ...]) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    parts = re.findall(r"(?:whom: |Each membership names its source|どこから登録されたか)[^.。]+[.。]", text)
    assert len(names) == len(Source)
    assert any(all(name in part for name in names) for part in parts), parts


def test_the_audit_logs_answer_names_all_who_act() -> None:
    [listed] = re.findall(r"who acted: ([^;]+);", AuditEntryAnswer.__doc__ or "")
    assert set(re.findall(r"`([a-z]+)`", listed)) == set(ActorKind)
