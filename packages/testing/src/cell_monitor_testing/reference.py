"""The tables of docs/operations/reference.md, generated from the code: settings, metrics, roles, scopes, codes.

``make generate`` writes them into the marked sections of the page; the other text is written by hand.
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cell_monitor_api import exceptions
from cell_monitor_api.config import ApiSettings
from cell_monitor_core.auth.audit import ActorKind, AuditAction
from cell_monitor_core.auth.grants import GRANTS, Grant
from cell_monitor_core.auth.roles import PERMISSIONS, Permission
from cell_monitor_core.auth.scopes import Scope
from cell_monitor_core.events.reasons import REQUEST_STATUS, Reason, RequestReason
from cell_monitor_core.settings import ENV_PREFIX, RENAMED, CoreSettings, is_secret
from cell_monitor_core.telemetry.metrics import CATALOGUE
from cell_monitor_core.web.errors import ClientRequestError
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.protocol import CloseCode, ErrorType, Refusal
from cell_monitor_testing.generation.pages import replace_sections, table
from cell_monitor_worker.config import WorkerSettings
from jupyterlab_cell_monitor.app import CellMonitorApp

__all__ = ["TABLES", "update"]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "host name and process id"
    if field.default is PydanticUndefined:
        return "**required**"
    if field.default is None or field.default == "":
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`"


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(item, name):g}"
        for name, sign in words.items()
        for item in field.metadata
        if hasattr(item, name)
    ]
    return f" ({', '.join(found)})" if found else ""


def _settings(settings: type[CoreSettings]) -> str:
    shared = () if settings is CoreSettings else CoreSettings.model_fields
    rows = []
    for name, field in settings.model_fields.items():
        if name in shared:
            continue
        if not field.description:
            raise ValueError(f"{settings.__name__}.{name} has no description")
        variable = f"`{ENV_PREFIX}{name.upper()}`"
        if is_secret(field):
            variable += ", `…_FILE`"
        rows.append((variable, f"{_default(field)}{_bounds(field)}", field.description))
    return table(("variable", "default", "meaning"), rows)


def _renamed_settings() -> str:
    rows = ((f"`{ENV_PREFIX}{old}`", f"`{ENV_PREFIX}{new}`") for old, new in sorted(RENAMED.items()))
    return table(("old name", "new name"), rows)


def _jupyter_settings() -> str:
    """Return the options of the Jupyter Server extension. An option's help ends with its environment variable, if any."""
    rows = []
    for name, trait in CellMonitorApp.class_own_traits(config=True).items():
        meaning, _, default = str(trait.help).partition(" Default: ")
        if not default:
            least = getattr(trait, "min", None)
            default = f"`{trait.default_value}`" + (f" (≥ {least:g})" if least is not None else "")
        default = re.sub(rf"\b{ENV_PREFIX}\w+", r"`\g<0>`", default.removesuffix("."))
        rows.append((f"`{CellMonitorApp.__name__}.{name}`", default, meaning))
    return table(("option", "default", "meaning"), rows)


def _metrics(service: str | None) -> str:
    rows = []
    for family in CATALOGUE.families.values():
        if (service is None and family.services) or (service is not None and service not in family.services):
            continue
        labels = [
            f"`{name}`" if values is None else f"`{name}` ({', '.join(str(value) for value in values)})"
            for name, values in family.label_values.items()
        ]
        rows.append((f"`{family.name}`", family.kind, ", ".join(labels), family.help))
    return table(("metric", "kind", "labels", "meaning"), rows)


def _member_docs(kind: type[enum.Enum]) -> dict[str, str]:
    """Return the strings below the members of an enumeration, which Python does not keep at run time."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    docs: dict[str, str] = {}
    for member, doc in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            [target] = member.targets
            assert isinstance(target, ast.Name)
            docs[target.id] = str(doc.value.value).replace("``", "`")
    return docs


def _roles() -> str:
    by_role = frozenset[Permission]().union(*PERMISSIONS.values())
    columns = [permission for permission in Permission if permission in by_role]
    head = ("role", *(f"`{permission}`" for permission in columns))
    return table(
        head,
        (
            (f"`{role}`", *("yes" if item in allowed else "no" for item in columns))
            for role, allowed in PERMISSIONS.items()
        ),
    )


def _scopes() -> str:
    docs = _member_docs(Scope)
    return table(("scope", "allows"), ((f"`{scope}`", docs[scope.name]) for scope in Scope))


def _grants() -> str:
    docs = _member_docs(Grant)
    rows = [
        (f"`{grant}`", docs[grant.name], ", ".join(f"`{audience}`" for audience in sorted(GRANTS[grant].audiences)))
        for grant in Grant
    ]
    return table(("grant", "made when", "audiences"), rows)


def _audit_actions() -> str:
    docs = _member_docs(AuditAction)
    return table(("action", "meaning"), ((f"`{action}`", docs[action.name]) for action in AuditAction))


def _audit_actors() -> str:
    docs = _member_docs(ActorKind)
    return table(("actor", "meaning"), ((f"`{kind}`", docs[kind.name]) for kind in ActorKind))


def _reasons() -> str:
    docs = _member_docs(Reason)
    return table(("reason", "meaning"), ((f"`{reason}`", docs[reason.name]) for reason in Reason))


def _errors() -> str:
    """Return all error codes; a code may have several meanings."""
    found: dict[tuple[int, str], str] = {}
    for name in exceptions.__all__:
        kind: type[ClientRequestError] = getattr(exceptions, name)
        text = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("``", "`")
        before = found.get((kind.status_code, kind.error))
        found[kind.status_code, kind.error] = f"{before} Or: {text}" if before else text
    docs = _member_docs(RequestReason)
    for reason, status in REQUEST_STATUS.items():
        found.setdefault((status, str(reason)), docs[reason.name])
    found[500, "internal_error"] = "The service failed; its log has the details."
    return table(("status", "type", "meaning"), ((key[0], f"`{key[1]}`", text) for key, text in sorted(found.items())))


def _close_codes() -> str:
    return table(
        ("code", "reason", "reconnect?", "meaning"),
        ((int(code), f"`{code.reason}`", "yes" if code.reconnect else "no", code.description) for code in CloseCode),
    )


def _refusals() -> str:
    return table(
        ("status", "type", "retry?", "meaning"),
        ((item.status, f"`{item.value}`", "yes" if item.status == 503 else "no", item.description) for item in Refusal),
    )


def _gateway_errors() -> str:
    return table(("type",), ((f"`{kind}`",) for kind in ErrorType))


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings-core": lambda: _settings(CoreSettings),
    "settings-api": lambda: _settings(ApiSettings),
    "settings-worker": lambda: _settings(WorkerSettings),
    "settings-gateway": lambda: _settings(GatewaySettings),
    "settings-jupyter": _jupyter_settings,
    "settings-renamed": _renamed_settings,
    "metrics-all": lambda: _metrics(None),
    "metrics-api": lambda: _metrics("api"),
    "metrics-worker": lambda: _metrics("worker"),
    "metrics-gateway": lambda: _metrics("gateway"),
    "roles": _roles,
    "scopes": _scopes,
    "grants": _grants,
    "audit-actions": _audit_actions,
    "audit-actors": _audit_actors,
    "reasons": _reasons,
    "errors": _errors,
    "refusals": _refusals,
    "close-codes": _close_codes,
    "gateway-errors": _gateway_errors,
}


def update(page: str) -> str:
    """Return the page with every table written again.

    Raises:
        ValueError: a table has no place in the page, or a place has no table.
    """
    return replace_sections(page, TABLES)
