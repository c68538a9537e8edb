"""The catalogue of metrics: each metric of each service, declared once. docs/operations/reference.md lists them.

Use a metric without labels as ``EVENTS_RECEIVED.inc()``. Get the children of the others once at start.
"""

from __future__ import annotations

from typing import Final

from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.telemetry.instruments import Catalogue, Counter, Gauge, Histogram
from cell_monitor_core.telemetry.multiprocess import MultiprocessFlush, render

__all__ = ["CATALOGUE", "MultiprocessFlush", "render_metrics", "set_build_info"]

CATALOGUE: Final = Catalogue()

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_END_TO_END = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_GROUPS = ("postgres", "influxdb")
_BACKGROUND_TASKS: Final = (
    "backlog", "beats", "help-expiry", "help-outbox", "hub-roster", "hub-sessions", "jwks-refresh", "metrics-flush", "opaque-events", "partitions",
    "redis-fitness", "refusals", "revocation-delivery", "revocations", "signing-keys", "trim",
)  # fmt: skip
"""The tasks of all services that repeat (``repeating_task``)."""
_KINDS = ("student", "help", "course", "test")


def _counter(name: str, help: str) -> Counter:  # noqa: A002
    return CATALOGUE.counter(name, help).labels()


def _gauge(name: str, help: str) -> Gauge:  # noqa: A002
    return CATALOGUE.gauge(name, help).labels()


def _histogram(name: str, help: str, buckets: tuple[float, ...]) -> Histogram:  # noqa: A002
    return CATALOGUE.histogram(name, help, buckets).labels()


BUILD_INFO: Final = CATALOGUE.gauge(
    "cell_monitor_build_info",
    "1, with the service and its version.",
    {"service": None, "version": None},
    mode="livemax",
)
EVENT_LOOP_LAG_SECONDS: Final = _histogram(
    "cell_monitor_event_loop_lag_seconds", "Delay with which the event loop runs a timer.", _FAST
)
EVENT_LOOP_STALLS: Final = _counter(
    "cell_monitor_event_loop_stalls_total", "Times that the event loop was blocked for seconds."
)
BACKGROUND_TASK_ERRORS: Final = CATALOGUE.counter(
    "cell_monitor_background_task_errors_total",
    "Unexpected errors in tasks that repeat, by task; the log has each as background_task_failed, and the task goes on.",
    {"task": _BACKGROUND_TASKS},
)

CATALOGUE.section("api")
EVENTS_RECEIVED: Final = _counter("cell_monitor_events_received_total", "Events in requests that could be parsed.")
EVENTS_ACCEPTED: Final = _counter("cell_monitor_events_accepted_total", "Events queued durably.")
EVENTS_DUPLICATE: Final = _counter("cell_monitor_events_duplicate_total", "Events that were queued before.")
EVENTS_REJECTED: Final = CATALOGUE.counter(
    "cell_monitor_events_rejected_total",
    "Events rejected, by reason; the sender does not send them again.",
    {"reason": tuple(reason for reason in Reason if reason is not Reason.LOG_UNAVAILABLE)},
)
EVENTS_RETRY: Final = CATALOGUE.counter(
    "cell_monitor_events_retry_total",
    "Events that the sender was asked to send again, by reason.",
    {"reason": (Reason.LOG_UNAVAILABLE,)},
)
INGEST_REQUESTS: Final = CATALOGUE.counter(
    "cell_monitor_ingest_requests_total", "Ingest requests, by status code of the response.", {"status": None}
)
INGEST_SECONDS: Final = _histogram(
    "cell_monitor_ingest_seconds",
    "Ingest requests, from the end of the body to the response; from the beginning if the body was refused.",
    _FAST,
)
STREAM_APPEND_SECONDS: Final = _histogram(
    "cell_monitor_stream_append_seconds", "Time until the queue has stored a request's events durably.", _FAST
)
RATE_LIMITED: Final = CATALOGUE.counter(
    "cell_monitor_rate_limited_total",
    "Requests refused by a rate limit, by limit; test mode counts as ingest.",
    {
        "limit": (
            "ingest",
            "sign_in_account",
            "sign_in_address",
            "sign_in_device",
            "sign_in_load",
            "join_address",
            "join_code",
        )
    },
)

SIGN_INS: Final = CATALOGUE.counter(
    "cell_monitor_sign_ins_total",
    "Sign-ins with a password, a link, JupyterHub or OpenID Connect, refreshes of the cookie and exchanges of a credential, by outcome.",
    {
        "how": ("password", "link", "hub", "oidc", "cookie", "api_key", "hub_server", "joined", "join_code"),
        "outcome": ("ok", "refused", "rate_limited"),
    },
)
HUB_REQUESTS: Final = CATALOGUE.counter(
    "cell_monitor_hub_requests_total",
    "Questions to JupyterHub whose a token is, by what came of them.",
    {"outcome": ("ok", "refused", "unfit", "unavailable")},
)
HUB_ROSTER_READINGS: Final = CATALOGUE.counter(
    "cell_monitor_hub_roster_readings_total",
    "Readings of all groups of JupyterHub, by what came of them; all but ok change nothing.",
    {"outcome": ("ok", "forbidden", "unavailable", "database_unavailable")},
)
HUB_SESSIONS_ENDED: Final = CATALOGUE.counter(
    "cell_monitor_hub_sessions_ended_total",
    "Sign-ins with JupyterHub that ended because the Hub does not confirm them: it does not know their token, the user may "
    "not use this service or has another name, it has not answered for too long, or the stored token cannot be read.",
    {"reason": ("refused", "unfit", "renamed", "unavailable", "unreadable")},
)
OIDC_REQUESTS: Final = CATALOGUE.counter(
    "cell_monitor_oidc_requests_total",
    "Requests to the OpenID Connect provider, by what was asked for and what came of them.",
    {"what": ("metadata", "keys", "token"), "outcome": ("ok", "refused", "unavailable")},
)
HTTP_REQUESTS: Final = CATALOGUE.counter(
    "cell_monitor_http_requests_total", "Requests other than ingest and probes, by status code.", {"status": None}
)
HTTP_REQUEST_SECONDS: Final = _histogram(
    "cell_monitor_http_request_seconds", "Requests other than ingest and probes.", _FAST
)
HELP_ACTIONS: Final = CATALOGUE.counter(
    "cell_monitor_help_actions_total",
    "Actions of staff on help requests.",
    {"action": ("claim", "release", "resolve")},
)

BEATS: Final = CATALOGUE.counter(
    "cell_monitor_beats_total",
    "Beats of this process, one a second and partition with followed courses, by outcome: appended; full, because the "
    "stream takes no more; failed, because Redis is unavailable. Dashboards are live only while beats get through.",
    {"outcome": ("appended", "full", "failed")},
)

CATALOGUE.section("worker")
BACKLOG_ENTRIES: Final = CATALOGUE.gauge(
    "cell_monitor_backlog_entries",
    "Stream entries that a group has not finished.",
    {"partition": None, "group": _GROUPS},
    mode="livemax",
)
BACKLOG_AGE_SECONDS: Final = CATALOGUE.gauge(
    "cell_monitor_backlog_age_seconds",
    "Age of the oldest stream entry that a group has not finished.",
    {"partition": None, "group": _GROUPS},
    mode="livemax",
)
HELP_EXPIRED: Final = _counter(
    "cell_monitor_help_expired_total", "Help requests that closed themselves, because their students had left."
)
EVENTS_STORED: Final = CATALOGUE.counter(
    "cell_monitor_events_stored_total",
    "Events stored, by group; the group influxdb also counts events that it writes a second time.",
    {"group": _GROUPS},
)
EVENTS_STORED_BEFORE: Final = CATALOGUE.counter(
    "cell_monitor_events_stored_before_total",
    "Events of a batch that had been stored before.",
    {"group": ("postgres",)},
)
EVENTS_DISCARDED: Final = CATALOGUE.counter(
    "cell_monitor_events_discarded_total",
    "Events of people or courses that were erased while the events waited, by group.",
    {"group": _GROUPS},
)
OPAQUE_EVENTS: Final = CATALOGUE.counter(
    "cell_monitor_opaque_events_total",
    "Events of a type or version of a newer release, by what became of them: stored as opaque facts; derived after an "
    "upgrade; unreadable then, because they are not as their type's schema says.",
    {"outcome": ("stored", "derived", "unreadable")},
)
OPAQUE_EVENTS_WAITING: Final = CATALOGUE.gauge(
    "cell_monitor_opaque_events",
    "Stored events that no release which ran here could derive: the extension is newer than the services, or their type "
    "is misspelled.",
    mode="livemax",
).labels()
EVENTS_FAILED: Final = CATALOGUE.counter(
    "cell_monitor_events_failed_total", "Events moved to failed_events (dead letters), by group.", {"group": _GROUPS}
)
ENTRIES_RECLAIMED: Final = CATALOGUE.counter(
    "cell_monitor_entries_reclaimed_total",
    "Stream entries claimed from a worker that did not finish them, by group.",
    {"group": _GROUPS},
)
ENTRIES_TRIMMED: Final = _counter(
    "cell_monitor_entries_trimmed_total", "Stream entries deleted after all groups had finished them."
)
BATCH_EVENTS: Final = CATALOGUE.histogram(
    "cell_monitor_batch_events", "Events per batch, by group.", _SIZES, {"group": _GROUPS}
)
COMMIT_SECONDS: Final = CATALOGUE.histogram(
    "cell_monitor_commit_seconds", "Time to store one batch, by group.", _FAST, {"group": _GROUPS}
)
STORE_UNAVAILABLE: Final = CATALOGUE.counter(
    "cell_monitor_store_unavailable_total",
    "Batches to be retried because the store was unavailable.",
    {"group": _GROUPS},
)
GROUP_HALTED: Final = CATALOGUE.gauge(
    "cell_monitor_group_halted",
    "1 while a group has stopped because too large a share of its events failed.",
    {"group": _GROUPS},
    mode="livemax",
)
# The API publishes the actions of staff on help requests.
CATALOGUE.section("api", "worker")
PUBLICATIONS_PUBLISHED: Final = CATALOGUE.counter(
    "cell_monitor_publications_published_total", "Publications sent to dashboards' channels, by kind.", {"kind": _KINDS}
)
PUBLICATIONS_SUPPRESSED: Final = CATALOGUE.counter(
    "cell_monitor_publications_suppressed_total",
    "Publications not sent because a newer state had been published, by kind.",
    {"kind": _KINDS},
)
PUBLISH_SECONDS: Final = _histogram("cell_monitor_publish_seconds", "Time to publish the states of one batch.", _FAST)
CATALOGUE.section("worker")
EVENT_PUBLICATION_SECONDS: Final = _histogram(
    "cell_monitor_event_publication_seconds", "From the API's receipt of an event to its publication.", _END_TO_END
)

WATERMARK_SECONDS: Final = _histogram(
    "cell_monitor_watermark_seconds",
    "From a beat to its publication as a watermark: how old dashboards are without the way to the browser. Over 3 s they "
    "say that they are delayed.",
    _END_TO_END,
)

CATALOGUE.section("gateway")
GATEWAY_CONNECTIONS: Final = _gauge("cell_monitor_gateway_connections", "WebSockets that are open.")
GATEWAY_CONNECTIONS_OPENED: Final = _counter(
    "cell_monitor_gateway_connections_opened_total", "WebSockets that were opened."
)
GATEWAY_REFUSED: Final = CATALOGUE.counter(
    "cell_monitor_gateway_refused_total",
    "Handshakes that were refused, by reason.",
    {"reason": ("draining", "origin_forbidden", "unsupported_subprotocol", "connection_limit")},
)
GATEWAY_SUBSCRIPTIONS: Final = _gauge("cell_monitor_gateway_subscriptions", "Subscriptions of open WebSockets.")
GATEWAY_FRAMES: Final = _counter(
    "cell_monitor_gateway_frames_total", "Frames of publications and watermarks sent to WebSockets."
)
GATEWAY_BYTES: Final = _counter("cell_monitor_gateway_sent_bytes_total", "Bytes of these frames.")
GATEWAY_PUBLICATIONS: Final = _counter(
    "cell_monitor_gateway_publications_total", "Publications received from the broker, including those that fill a gap."
)
GATEWAY_DELIVERIES: Final = _counter(
    "cell_monitor_gateway_deliveries_total",
    "Publications sent to WebSockets; one publication to ten sockets counts ten times.",
)
GATEWAY_RECOVERIES: Final = CATALOGUE.counter(
    "cell_monitor_gateway_recoveries_total",
    "Subscriptions, by outcome: fresh without a position, recovered with all missed publications, refused otherwise.",
    {"outcome": ("fresh", "recovered", "refused")},
)
GATEWAY_CLOSES: Final = CATALOGUE.counter(
    "cell_monitor_gateway_closes_total", "WebSockets closed, by close code.", {"code": None}
)
GATEWAY_GAPS: Final = CATALOGUE.counter(
    "cell_monitor_gateway_gaps_total",
    "Gaps in a channel's offsets: filled from the history, or lost because the history is too short.",
    {"outcome": ("filled", "lost")},
)
GATEWAY_WATERMARKS: Final = _counter(
    "cell_monitor_gateway_watermarks_total", "Watermarks sent to WebSockets, of each followed course one a second."
)
EVENT_FRAME_SECONDS: Final = _histogram(
    "cell_monitor_event_frame_seconds", "From the API's receipt of an event to the frame that shows it.", _END_TO_END
)


def set_build_info(service: str, version: str) -> None:
    """Set service and version of this process; from then on only metrics of this service are exposed."""
    CATALOGUE.service = service
    BUILD_INFO.labels(service, version).set(1)


def render_metrics() -> tuple[bytes, str]:
    """Return the text of ``/metrics``, summed over the worker processes, and its content type."""
    return render(CATALOGUE)
