"""Hazards: a setting, metric, scope, code or reason that operators cannot look up; a metric that nothing counts."""

import re
from pathlib import Path

import pytest

from cell_monitor_api.config import ApiSettings
from cell_monitor_core.settings import CoreSettings, is_secret
from cell_monitor_core.telemetry import metrics
from cell_monitor_core.telemetry.instruments import Family
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.protocol import CloseCode
from cell_monitor_testing import reference
from cell_monitor_worker.config import WorkerSettings

REPOSITORY = Path(__file__).parents[2]
PATH = REPOSITORY / "docs/operations/reference.md"
PAGE = PATH.read_text(encoding="utf-8")
COMMAND = "python -m cell_monitor_testing.reference docs/operations/reference.md"
SERVICES = [ApiSettings, WorkerSettings, GatewaySettings]
SOURCES = [
    path.read_text(encoding="utf-8")
    for folder in ("packages/core/src", "services/api/src", "services/worker/src", "services/ws-gateway/src")
    for path in (REPOSITORY / folder).rglob("*.py")
    if path.name != "metrics.py" or "telemetry" not in path.parts
]


def test_tables_are_what_the_code_says():
    assert reference.update(PAGE) == PAGE, f"run {COMMAND}"


@pytest.mark.parametrize("settings", [CoreSettings, *SERVICES])
def test_every_setting_can_be_looked_up(settings):
    for name in settings.model_fields:
        assert f"| `CELL_MONITOR_{name.upper()}`" in PAGE


def test_every_metric_and_close_code_can_be_looked_up():
    assert len(metrics.CATALOGUE.families) > 30
    for name in metrics.CATALOGUE.families:
        assert f"| `{name}` |" in PAGE
    for code in CloseCode:
        assert f"| {int(code)} | `{code.reason}` |" in PAGE


@pytest.mark.parametrize("settings", SERVICES)
@pytest.mark.parametrize("other", SERVICES)
def test_services_can_share_one_environment(settings, other):
    variables = [f"CELL_MONITOR_{name.upper()}" for name in other.model_fields]
    variables += [f"CELL_MONITOR_{name.upper()}_FILE" for name, field in other.model_fields.items() if is_secret(field)]
    assert settings.unknown_variables(dict.fromkeys(variables, "x")) == []


def metric_constants():
    for name, value in vars(metrics).items():
        if name.isupper() and name != "CATALOGUE" and (isinstance(value, Family) or hasattr(value, "__slots__")):
            yield name


@pytest.mark.parametrize("name", sorted(metric_constants()))
def test_every_metric_is_counted_somewhere(name):
    # A metric that stays at zero whatever happens is worse than none: an alert on it never fires.
    if name == "BUILD_INFO":
        name = "set_build_info"
    assert any(re.search(rf"\b{name}\b", source) for source in SOURCES)


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="scopes"):
        reference.update(PAGE.replace("<!-- begin scopes -->", ""))
