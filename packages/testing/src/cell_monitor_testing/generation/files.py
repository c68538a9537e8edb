"""The generated files of the repository, in the order in which they are written, and the function that renders each."""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from cell_monitor_testing.generation.event_pages import event_table, student_list
from cell_monitor_testing.generation.pages import replace_sections
from cell_monitor_testing.generation.python_types import python_types
from cell_monitor_testing.generation.schemas import SCHEMAS, Catalogue, load_schemas
from cell_monitor_testing.generation.typescript_types import typescript_types

__all__ = ["GENERATED", "REPOSITORY", "DashboardTypesError", "GeneratedFile"]

REPOSITORY: Final = Path(__file__).parents[5]

_OPENAPI: Final = "docs/dev/openapi.json"


class DashboardTypesError(RuntimeError):
    """The program that makes the dashboard's types is not installed, or failed."""


class GeneratedFile(NamedTuple):
    """A file that is generated, whole or in marked sections.

    Attributes:
        path: below the repository's root.
        render: returns the file's text, given what it is now.
    """

    path: str
    render: Callable[[str], str]


@cache
def _catalogue() -> Catalogue:
    return Catalogue(load_schemas())


def _contracts(page: str) -> str:
    return replace_sections(page, {"event-types": lambda: event_table(_catalogue())})


def _student_page(language: str) -> Callable[[str], str]:
    return lambda page: replace_sections(page, {"recorded": lambda: student_list(_catalogue(), language)})


# What follows describes the running code. Its modules are imported once the event types, which they import, are written.


def _openapi(_: str) -> str:
    create_api = importlib.import_module("cell_monitor_api.main").create_api
    document = importlib.import_module("cell_monitor_api.openapi").document(create_api(None))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _asyncapi(_: str) -> str:
    text: str = importlib.import_module("cell_monitor_testing.asyncapi").render()
    return text


def _reference(page: str) -> str:
    text: str = importlib.import_module("cell_monitor_testing.reference").update(page)
    return text


def _dashboard_types(_: str) -> str:
    dashboard = REPOSITORY / "dashboard"
    program = dashboard / "node_modules/.bin/openapi-typescript"
    if not program.exists():
        raise DashboardTypesError(
            "The dashboard's modules are not installed. Run `make generate`, which installs them."
        )
    # From standard input: `--check` writes no document that it could read instead.
    done = subprocess.run(  # noqa: S603 - the program that package-lock.json pins
        [program], cwd=dashboard, input=_openapi(""), capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise DashboardTypesError(f"openapi-typescript failed: {done.stderr.strip()}")
    return done.stdout


_CORE_TYPES: Final = str((SCHEMAS.parent / "types.py").relative_to(REPOSITORY))

GENERATED: Final = (
    GeneratedFile(_CORE_TYPES, lambda _: python_types(_catalogue())),
    GeneratedFile("packages/jupyterlab-cell-monitor/src/events/types.ts", lambda _: typescript_types(_catalogue())),
    GeneratedFile("docs/dev/contracts.md", _contracts),
    GeneratedFile("docs/user/student.md", _student_page("en")),
    GeneratedFile("docs/user/student.ja.md", _student_page("ja")),
    GeneratedFile(_OPENAPI, _openapi),
    GeneratedFile("docs/dev/asyncapi.yaml", _asyncapi),
    GeneratedFile("docs/operations/reference.md", _reference),
    GeneratedFile("dashboard/src/api/openapi.ts", _dashboard_types),
)
