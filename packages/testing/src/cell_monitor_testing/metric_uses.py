"""Finds the metrics that a service's source code increments. An import or a bound child is not an increment."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable
from functools import lru_cache
from typing import Any, Final

from cell_monitor_core.telemetry import metrics
from cell_monitor_core.telemetry.instruments import Family

__all__ = ["constants", "counted"]

_COUNTING: Final = frozenset({"inc", "dec", "set", "observe"})


def constants() -> dict[str, Family[Any]]:
    """Return the families of the catalogue by their name in the code."""
    families = metrics.CATALOGUE.families.values()
    # A metric without labels is used through its only child.
    known = {id(family): family for family in families} | {
        id(child): family for family in families for _, child in family.items()
    }
    return {name: known[id(value)] for name, value in vars(metrics).items() if name.isupper() and id(value) in known}


def counted(name: str, sources: Iterable[str]) -> bool:
    """Return whether the sources increment a metric, by its name or by another name that they assign to it."""
    modules = [_nodes(source) for source in sources]
    shared = {name}
    while True:
        before = len(shared)
        for nodes in modules:
            names = _names(nodes, shared)
            if any(_counts(node, names) for node in nodes):
                return True
            # Constants can be imported by other modules; other names are local to the module.
            shared |= {found for found in names if found.isupper()}
        if len(shared) == before:
            return False


@lru_cache(maxsize=1000)
def _nodes(source: str) -> tuple[ast.AST, ...]:
    # The nodes and not the tree: it would be walked thousands of times, and that takes most of the time of the tests.
    return tuple(ast.walk(ast.parse(source)))


def _names(nodes: Iterable[ast.AST], shared: Iterable[str]) -> set[str]:
    """Return all names of the metric in one module."""
    names = set(shared)
    while True:
        before = len(names)
        for node in nodes:
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and _root(node.value) in names:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {found for target in targets if (found := _root(target)) is not None}
            elif isinstance(node, ast.FunctionDef) and any(
                isinstance(inner, ast.Return) and _root(inner.value) in names for inner in ast.walk(node)
            ):
                names.add(node.name)
        if len(names) == before:
            return names


def _counts(node: ast.AST, names: Container[str | None]) -> bool:
    if not isinstance(node, ast.Attribute) or _root(node.value) not in names:
        return False
    return node.attr in _COUNTING or (node.attr == "value" and isinstance(node.ctx, ast.Store))


def _root(node: ast.AST | None) -> str | None:
    """Return the name that an expression is derived from: ``x`` for ``self.x[1]`` and ``x.labels("a")``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return _root(node.value) if node.attr == "labels" else node.attr
    if isinstance(node, ast.Call):
        return _root(node.func)
    if isinstance(node, ast.Subscript | ast.DictComp):
        return _root(node.value)
    return None
