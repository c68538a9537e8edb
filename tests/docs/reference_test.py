"""Hazards: an undocumented setting, metric, scope, code or reason; a metric that is never incremented."""

import re
from pathlib import Path

import pytest

from cell_monitor_api.config import ApiSettings
from cell_monitor_core.settings import RENAMED, CoreSettings, is_secret
from cell_monitor_core.telemetry import metrics
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.protocol import CloseCode, Refusal
from cell_monitor_testing import reference
from cell_monitor_testing.metric_uses import constants, counted
from cell_monitor_worker.config import WorkerSettings
from jupyterlab_cell_monitor.app import CellMonitorApp

REPOSITORY = Path(__file__).parents[2]
PATH = REPOSITORY / "docs/operations/reference.md"
PAGE = PATH.read_text(encoding="utf-8")
SERVICES = [ApiSettings, WorkerSettings, GatewaySettings]
FOLDERS = {"api": "services/api/src", "worker": "services/worker/src", "gateway": "services/ws-gateway/src"}


def sources(*folders):
    return [path.read_text(encoding="utf-8") for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]


SOURCES = {service: sources("packages/core/src", folder) for service, folder in FOLDERS.items()}
# Read from the sources, so that every variable that the extension reads is found.
OF_THE_EXTENSION = sorted(
    {
        variable
        for path in (REPOSITORY / "packages/jupyterlab-cell-monitor/jupyterlab_cell_monitor").rglob("*.py")
        for variable in re.findall(r"\bCELL_MONITOR_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }
)


def test_tables_equal_the_generated_ones():
    assert reference.update(PAGE) == PAGE, "run make generate"


@pytest.mark.parametrize("settings", [CoreSettings, *SERVICES])
def test_every_setting_is_documented(settings):
    for name in settings.model_fields:
        assert f"| `CELL_MONITOR_{name.upper()}`" in PAGE


def test_every_option_and_variable_of_the_extension_is_documented():
    [table] = re.findall(r"<!-- begin settings-jupyter -->\n(.*?)<!-- end", PAGE, re.DOTALL)
    for name in CellMonitorApp.class_own_traits(config=True):
        assert f"| `CellMonitorApp.{name}` |" in table
    assert len(OF_THE_EXTENSION) > 5
    for variable in OF_THE_EXTENSION:
        assert f"`{variable}`" in table


def test_every_metric_and_close_code_is_documented():
    assert len(metrics.CATALOGUE.families) > 30
    for name in metrics.CATALOGUE.families:
        assert f"| `{name}` |" in PAGE
    for code in CloseCode:
        assert f"| {int(code)} | `{code.reason}` |" in PAGE


def test_every_setting_of_the_dashboard_image_is_documented():
    dockerfile = (REPOSITORY / "dashboard/Dockerfile").read_text(encoding="utf-8")
    variables = set(re.findall(r"\b(CELL_MONITOR_[A-Z_]*[A-Z])=", dockerfile))
    assert variables
    assert [name for name in variables if f"| `{name}` |" not in PAGE] == []


def test_every_refusal_of_a_handshake_is_counted_under_its_name():
    # A reason without a child of the metric would fail the handshake with an internal error.
    assert {item.value for item in Refusal} == set(metrics.GATEWAY_REFUSED.label_values["reason"])


@pytest.mark.parametrize("settings", SERVICES)
@pytest.mark.parametrize("other", SERVICES)
def test_services_can_share_one_environment(settings, other):
    variables = [f"CELL_MONITOR_{name.upper()}" for name in other.model_fields]
    variables += [f"CELL_MONITOR_{name.upper()}_FILE" for name, field in other.model_fields.items() if is_secret(field)]
    assert settings.unknown_variables(dict.fromkeys(variables, "x")) == []


def test_a_renamed_setting_leads_to_one_that_a_service_reads():
    fields = {name.upper() for settings in SERVICES for name in settings.model_fields}
    assert {new for new in RENAMED.values() if new not in fields} == set()
    assert {old for old in RENAMED if old in fields} == set()


@pytest.mark.parametrize("settings", SERVICES)
def test_services_and_the_extension_can_share_one_environment(settings):
    assert settings.unknown_variables(dict.fromkeys(OF_THE_EXTENSION, "x")) == []


def test_every_metric_has_a_name_in_code():
    assert set(map(id, constants().values())) == set(map(id, metrics.CATALOGUE.families.values()))


@pytest.mark.parametrize(
    ("name", "service"),
    [(name, service) for name, family in sorted(constants().items()) for service in family.services or FOLDERS],
)
def test_every_metric_is_incremented_by_every_service_that_exposes_it(name, service):
    # An alert on a metric that is never incremented would never fire.
    assert counted(name, SOURCES[service])


@pytest.mark.parametrize(
    "source",
    [
        "from telemetry.metrics import X",
        "from telemetry.metrics import X\n__all__ = ['X']",
        "class A:\n    def __init__(self):\n        self._x = X.labels('a')",
        "print(X.value)",
        "Y.inc()",
    ],
)
def test_a_metric_that_is_only_imported_bound_or_read_is_detected(source):
    assert not counted("X", [source])


@pytest.mark.parametrize(
    "source",
    [
        "X.inc()",
        "metrics.X.labels('a').observe(1)",
        "metrics.X.value += 1",
        "watch(X.observe)",
        "class A:\n    def __init__(self):\n        self._x = X.labels('a')\n    def go(self):\n        self._x.inc()",
        "ALL = {code: X.labels(code) for code in codes}\nALL[1].inc()",
        "def x(status):\n    y = z[status] = X.labels(status)\n    return y\nx(1).value += 1",
    ],
)
def test_a_metric_that_is_incremented_under_any_name_passes(source):
    assert counted("X", [source])


def test_a_metric_that_another_module_renamed_passes():
    assert counted("X", ["metrics.ROUNDS.inc()", "ROUNDS = telemetry.X"])
    assert not counted("X", ["self.rounds.inc()", "rounds = telemetry.X"])


def test_a_page_without_a_section_for_a_table_is_refused():
    with pytest.raises(ValueError, match="scopes"):
        reference.update(PAGE.replace("<!-- begin scopes -->", ""))
