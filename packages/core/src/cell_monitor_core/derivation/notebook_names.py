"""How the notebooks of one student are called: each has one name, the newest, wherever it is shown.

A name is taken from facts that are made while the page knows it: of a notebook that is opened or renamed, and of an act in it.
The end of a run and the death of a kernel may be reported after the page is gone, with the name that the notebook had
when the run began. "Save as" saves the copy while the page still has the id of the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cell_monitor_core.derivation.facts import Fact, Key
from cell_monitor_core.derivation.places import is_place
from cell_monitor_core.publications import NotebookRef

__all__ = ["NotebookAt", "NotebookNames", "called", "names_notebook", "newly_named", "with_name"]

_KEPT: Final = 32
_NAMING_TYPES: Final = frozenset(("notebook_opened", "notebook_renamed"))
_LATE_TYPES: Final = frozenset(("cell_executed", "kernel_died", "kernel_restarted", "notebook_saved"))


class NotebookAt(msgspec.Struct, frozen=True, array_like=True):
    """A notebook as a fact at ``key`` names it; of a place ``key`` is ``Fact.place_lag_ms`` before that of the fact."""

    key: Key
    ref: NotebookRef


NotebookNames = dict[str, NotebookAt]
"""The newest names, by notebook id."""


def names_notebook(fact: Fact) -> bool:
    """Return whether a fact says how its notebook is called at its time."""
    return fact.type in _NAMING_TYPES or (fact.type not in _LATE_TYPES and is_place(fact.type, fact.place))


def with_name(names: NotebookNames, fact: Fact, key: Key) -> None:
    """Take the name that a fact gives its notebook; the 32 newest are kept, whatever the order of arrival."""
    notebook = fact.notebook
    if notebook is None or not names_notebook(fact):
        return
    known = names.get(notebook.id)
    if known is not None and key < known.key:
        return
    names[notebook.id] = NotebookAt(key, notebook)
    if len(names) > _KEPT:
        del names[min(names, key=lambda each: names[each].key)]


def called(names: Mapping[str, NotebookAt] | None, notebook: NotebookRef) -> NotebookRef:
    """Return a notebook as it is called now; as it was given where no name is known, or one that only lacks the title."""
    name = None if names is None else names.get(notebook.id)
    if name is None or (name.ref.title is None and name.ref.path == notebook.path):
        return notebook
    return name.ref


def newly_named(names: Mapping[str, NotebookAt] | None, facts: Iterable[Fact]) -> frozenset[str]:
    """Return the ids of the notebooks that facts may give another name than the one known.

    Those that a fact renames are among them, although the name may be known: what it changed may never have been published.
    """
    return frozenset(
        fact.notebook.id
        for fact in facts
        if fact.notebook is not None
        and names_notebook(fact)
        and (fact.type == "notebook_renamed" or called(names, fact.notebook) != fact.notebook)
    )
