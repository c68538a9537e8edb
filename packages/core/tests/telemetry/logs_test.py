"""Hazards: a secret or a student's text in a log, a line that is not JSON, a level that needs a restart to change."""

import io
import json
import logging
import os
import signal
import time
import warnings

import pytest
import structlog

from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.telemetry.logs import configure_logging, log_level, set_log_level

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level, signal.getsignal(signal.SIGUSR1), warnings.showwarning
    settings = CoreSettings(redis_url="redis://x", instance="host-1")
    configure_logging(settings, "worker", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(capture=False)
    root.handlers[:], warnings.showwarning = before[0], before[3]
    root.setLevel(before[1])
    signal.signal(signal.SIGUSR1, before[2])
    structlog.reset_defaults()


def logger():
    return structlog.get_logger("test")


def test_line_has_event_ids_level_time_and_service(lines):
    logger().info("batch_stored", partition=3, events=17)
    [line] = lines()
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "batch_stored",
        "partition": 3,
        "events": 17,
        "level": "info",
        "service": "worker",
        "instance": "host-1",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"new_password": "hunter2"},
        {"authorization": "Bearer hunter2"},
        {"api_key": "hunter2"},
        {"cookie": "hunter2"},
        {"signing_keys": "hunter2"},
        {"payload": b"hunter2"},
        {"code": "hunter2"},
        {"raw": b"hunter2"},
        {"username": "hunter2"},
        {"request": {"headers": {"Set-Cookie": "hunter2"}}},
        {"url": "redis://user:hunter2@host:6379/0"},
        {"error": "cannot connect to postgresql://cm:hunter2@db/cm"},
        {"blob": b"hunter2"},
        {"items": [{"token": "hunter2"}]},
    ],
)
def test_secrets_and_payloads_are_left_out_of_every_entry(lines, fields):
    logger().warning("something", **fields)
    logging.getLogger("library").warning("failed for %s", fields.get("url") or fields.get("error") or "")
    assert len(lines()) == 2
    assert "hunter2" not in json.dumps(lines())


def test_token_in_any_text_is_left_out(lines):
    logger().info("refused", reason=f"bad header {TOKEN}")
    logging.getLogger("uvicorn.error").info("GET /ws?token=%s", TOKEN)
    refused, requested = lines()
    assert "[token]" in refused["reason"]
    assert requested["event"] == "GET /ws?token=[token]"
    assert TOKEN not in json.dumps(lines())


def test_exception_has_a_traceback_without_local_variables(lines):
    student_text = "print('my homework')"
    try:
        raise RuntimeError("no")
    except RuntimeError:
        logger().exception("failed")
    assert len(student_text) > 3
    [line] = lines()
    assert "RuntimeError: no" in line["exception"]
    assert "my homework" not in line["exception"]


def test_long_text_is_truncated(lines):
    logger().info("x", note="y" * 10_000)
    assert len(lines()[0]["note"]) < 5000


def test_logs_of_servers_and_warnings_have_the_same_format(lines):
    logging.getLogger("gunicorn.error").warning("Worker exiting")
    logging.getLogger("py.warnings").warning("careful")
    assert [line["level"] for line in lines()] == ["warning", "warning"]
    assert [line["logger"] for line in lines()] == ["gunicorn.error", "py.warnings"]
    assert all(line["service"] == "worker" for line in lines())


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_signal_toggles_debug_of_existing_loggers(lines):
    log = logger()
    log.debug("hidden")
    os.kill(os.getpid(), signal.SIGUSR1)
    wait_until(lambda: any(line["event"] == "log_level_changed" for line in lines()))
    log.debug("shown")
    logging.getLogger("library").debug("shown too")
    os.kill(os.getpid(), signal.SIGUSR1)
    wait_until(lambda: sum(line["event"] == "log_level_changed" for line in lines()) == 2)
    log.debug("hidden again")
    assert [line["event"] for line in lines() if line["event"] != "log_level_changed"] == ["shown", "shown too"]
    assert log_level() == "info"


def test_level_can_be_raised(lines):
    set_log_level("error")
    logger().warning("hidden")
    logger().error("shown")
    assert [line["event"] for line in lines()] == ["shown"]


def test_console_format_scrubs_too():
    stream = io.StringIO()
    root = logging.getLogger()
    handlers = root.handlers[:]
    try:
        configure_logging(CoreSettings(redis_url="redis://x", log_format="console"), "api", stream=stream)
        logger().info("started", token="hunter2", port=8900)
    finally:
        root.handlers[:] = handlers
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
    assert "started" in stream.getvalue()
    assert "port=8900" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
