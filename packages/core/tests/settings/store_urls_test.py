"""Hazards: a mistake in an address shows as an outage without end, or as a traceback with a part of the password."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.settings import CoreSettings, SettingsError
from cell_monitor_core.store_urls import check_redis_url, parse_postgres_url

SECRET = "Hunter2"


@pytest.mark.parametrize(
    ("unquoted", "quoted"), [("@", "%40"), ("/", "%2F"), ("?", "%3F"), ("#", "%23"), ("%", "%25"), ("%4", "%25")]
)
def test_a_character_that_a_password_must_quote_is_named_with_its_quoted_form(unquoted, quoted):
    for check, url in (
        (check_redis_url, f"redis://:{SECRET}{unquoted}{SECRET}@cache.example:6379/0"),
        (check_redis_url, f"rediss+cluster://u:{SECRET}{unquoted}{SECRET}@a:1,b:2"),
        (parse_postgres_url, f"postgresql://u:{SECRET}{unquoted}{SECRET}@db.example:5432/monitor?sslmode=require"),
    ):
        with pytest.raises(ValueError, match="user or password") as caught:
            check(url)
        assert quoted in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache.example:6379",
        "tcp://10.0.0.1:6379",
        "redis://",
        "redis://:pw@",
        "redis://cache:6379x",
        "redis://cache:0",
        "redis://cache:65536",
        "redis://cache:٣",
        "redis://cache/first",
        "redis+cluster://a:1,,b:2",
        "redis://cache :6379",
        "redis://cache:6379\n",
    ],
)
def test_an_address_that_is_none_is_refused_at_the_start(url):
    with pytest.raises(ValueError, match=r"\w+"):
        check_redis_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:a%40b@cache:6379/3",
        "rediss://user:pw@cache.example:6380/0?ssl_ca_certs=/etc/ca.pem",
        "redis+cluster://u:p@a:6379,b:6379,[::1]:6379",
        "redis://[fe80::1]:6379",
    ],
)
def test_right_addresses_of_redis_are_taken(url):
    check_redis_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db/monitor",
        "postgres://u@db-1:5432,db-2:5433/monitor?target_session_attrs=primary&sslmode=verify-full&sslrootcert=%2Fca.pem",
        "postgresql:///monitor?host=/run/postgresql",
        "postgresql://u:p@[::1]:5432/monitor",
    ],
)
def test_right_addresses_of_postgresql_are_passed_on_as_they_are(url):
    assert parse_postgres_url(url).dsn == url
    assert parse_postgres_url(url).prepares


def test_options_that_say_what_is_so_anyway_are_taken_and_others_are_honoured():
    url = parse_postgres_url(
        "postgresql://u:p@db/m?connect_timeout=7&gssencmode=prefer&channel_binding=disable&pgbouncer=true&sslmode=require"
    )
    assert (url.dsn, url.connect_timeout, url.prepares) == ("postgresql://u:p@db/m?sslmode=require", 7.0, False)
    assert parse_postgres_url("postgresql://db/m?connect_timeout=0").connect_timeout is None
    assert parse_postgres_url("postgresql://db/m?connect_timeout=1").connect_timeout == 2.0


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("channel_binding=require", "channel_binding"),
        ("gssencmode=require", "gssencmode"),
        ("keepalives_idle=30", "keepalives_idle"),
        ("hostaddr=10.0.0.1", "hostaddr"),
        ("connect_timeout=soon", "connect_timeout"),
        ("schema=public", "schema"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_named(option, named):
    with pytest.raises(ValueError, match=named):
        parse_postgres_url(f"postgresql://u:{SECRET}@db/monitor?{option}")


@given(st.text(max_size=30))
def test_any_quoted_password_is_taken_and_any_text_is_answered(text):
    check_redis_url(f"redis://:{quote(text, safe='')}@cache:6379")
    dsn = f"postgresql://u:{quote(text, safe='')}@db:5432/monitor"
    assert parse_postgres_url(dsn).dsn == dsn
    for check in (check_redis_url, parse_postgres_url):
        for url in (text, f"redis://{text}", f"postgresql://{text}"):
            try:
                check(url)
            except ValueError as error:
                assert str(error)  # noqa: PT017 - any answer but this one is an error


def test_what_kubernetes_sets_for_services_is_no_setting(monkeypatch):
    for name in ("REDIS_URL", "DATABASE_URL"):
        monkeypatch.delenv(f"CELL_MONITOR_{name}", raising=False)
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", "redis://cache")
    for name in ("REDIS_PORT", "POSTGRES_PORT"):
        monkeypatch.setenv(f"CELL_MONITOR_{name}", "tcp://10.0.0.1:6379")
    assert CoreSettings.load().redis_url.get_secret_value() == "redis://cache"
    monkeypatch.setenv("CELL_MONITOR_REDIS_PORT", "6379")
    with pytest.raises(SettingsError, match="CELL_MONITOR_REDIS_PORT is not a setting"):
        CoreSettings.load()


def test_a_mistake_is_one_line_that_names_the_variable(monkeypatch):
    monkeypatch.setenv("CELL_MONITOR_REDIS_URL", f"redis://:{SECRET}#@cache")
    with pytest.raises(SettingsError) as caught:
        CoreSettings.load()
    assert str(caught.value).startswith("CELL_MONITOR_REDIS_URL: ")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
