"""Activity over time in InfluxDB 2.

A proxy or a sign-in page may answer instead of InfluxDB, with any status. Its answers never count: not as points written or
deleted, not as counts, not as a refusal of points. Status and form of InfluxDB's own:
https://docs.influxdata.com/influxdb/v2/api/v2/
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import aiohttp
import influxdb_client
import msgspec
import structlog
from influxdb_client.client.flux_csv_parser import FluxCsvParserException, FluxQueryException
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException
from pydantic import SecretStr

from cell_monitor_core.storage.influxdb.line_protocol import ACTIVITY, format_point
from cell_monitor_core.storage.ports import ActivityBucket, StoreUnavailable, TimeSeriesPoint
from cell_monitor_core.storage.timeseries_bisection import Refused, write_around
from cell_monitor_core.storage.timeseries_buckets import bucket_starts

__all__ = ["InfluxTimeSeries"]

RETENTION: Final = timedelta(days=400)
TIMEOUT_S: Final = 10.0
MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of line protocol in one request, before compression."""

_influxdb: Any = influxdb_client  # its service classes have no annotations
_log = structlog.get_logger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# One field stands for its point. Counting comes first, while the storage engine can do it.
_COUNTS: Final = """
from(bucket: _bucket)
  |> range(start: _start, stop: _stop)
  |> filter(fn: (r) => r._measurement == _measurement and r.course == _course and r._field == "student")
  |> aggregateWindow(every: _every, offset: _offset, fn: count, createEmpty: false, timeSrc: "_start")
  |> group(columns: ["_time", "type", "status"])
  |> sum()
  |> group()
"""
_STUDENTS: Final = """
from(bucket: _bucket)
  |> range(start: _start, stop: _stop)
  |> filter(fn: (r) => r._measurement == _measurement and r.course == _course and r._field == "student")
  |> group()
  |> window(every: _every, offset: _offset)
  |> distinct()
  |> count()
  |> group()
"""
_TOTAL: Final = """
from(bucket: _bucket)
  |> range(start: _start, stop: _stop)
  |> filter(fn: (r) => r._measurement == _measurement and r.course == _course and r._field == "student")
  |> count()
  |> group()
  |> sum()
"""
_FOREVER: Final = (_EPOCH, datetime(2200, 1, 1, tzinfo=UTC))
# 400: a line cannot be read; 413: the request is too large; 422: a point has a field of another type than those before
# it, or is older than the retention. All others of the request may or may not be written.
_REFUSALS: Final = frozenset({(400, "invalid"), (413, "request too large"), (422, "unprocessable entity")})
_WITHOUT_CONTENT: Final = ("/api/v2/write", "/api/v2/delete")


class _Fault(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ForeignAnswer(aiohttp.ClientError):
    """A success that InfluxDB does not answer like this."""


class InfluxTimeSeries:
    """``TimeSeries`` in a bucket of InfluxDB 2; make it inside a running event loop, and close it."""

    source = "influxdb"

    def __init__(
        self,
        url: str,
        token: str | SecretStr,
        org: str,
        bucket: str,
        *,
        timeout: float = TIMEOUT_S,
        retention: timedelta = RETENTION,
    ) -> None:
        """Work on this bucket.

        Args:
            url: ``http://host:8086``.
            token: may read and write the bucket and, if it does not exist, should be allowed to make it.
            org: the organisation's name.
            bucket: the bucket's name.
            timeout: seconds for one request.
            retention: how long a bucket made here keeps points; a bucket that exists keeps its own.
        """
        secret = token.get_secret_value() if isinstance(token, SecretStr) else token
        self._client: Any = InfluxDBClientAsync(
            url,
            secret,
            org,
            timeout=int(timeout * 1000),
            allow_redirects=False,
            connection_pool_maxsize=8,
            client_session_kwargs={"raise_for_status": _require_own_answer},
        )
        self._writes = _influxdb.WriteService(self._client.api_client)
        self._org = org
        self._bucket = bucket
        self._retention = retention

    async def erase_person(self, person_id: UUID) -> None:
        """Delete all points of a person; those of releases before schema version 6 have no tag to find them by.

        Raises:
            StoreUnavailable: InfluxDB does not answer, or the token may not write.
        """
        await self._erase("person", str(person_id))

    async def erase_course(self, course_id: str) -> None:
        """Delete all points of a course.

        Raises:
            StoreUnavailable: InfluxDB does not answer, or the token may not write.
        """
        await self._erase("course", course_id)

    async def _erase(self, tag: str, value: str) -> None:
        # https://docs.influxdata.com/influxdb/v2/reference/syntax/delete-predicate/: tags only, compared for equality.
        start, stop = _FOREVER
        request = _influxdb.DeletePredicateRequest(start=start, stop=stop, predicate=f'{tag}="{value}"')
        deletes = _influxdb.DeleteService(self._client.api_client)
        try:
            await self._call(deletes.post_delete_async(request, org=self._org, bucket=self._bucket))
        except Refused as error:
            raise StoreUnavailable(f"InfluxDB refuses to delete: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ensure_bucket(self) -> bool:
        """Create the bucket if it does not exist; return whether it exists now, as far as this token can see.

        Never raises: the first write shows what is wrong.
        """
        buckets = _influxdb.BucketsService(self._client.api_client)
        try:
            if await self._bucket_exists(buckets):
                return True
            found = await _influxdb.OrganizationsService(self._client.api_client).get_orgs_async(org=self._org)
            if not found.orgs:
                # A token for a single bucket sees neither buckets nor organisations.
                reason = "the token does not see the organisation"
                _log.warning("influxdb_bucket_not_made", bucket=self._bucket, reason=reason)
                return False
            rule = _influxdb.BucketRetentionRules(type="expire", every_seconds=int(self._retention.total_seconds()))
            await buckets.post_buckets_async(
                _influxdb.PostBucketRequest(org_id=found.orgs[0].id, name=self._bucket, retention_rules=[rule])
            )
        except ApiException as error:
            fault = _fault(error)
            if (error.status, fault.code) == (422, "conflict"):  # another process has just created it
                return True
            _log.warning("influxdb_bucket_not_made", bucket=self._bucket, status=error.status, reason=fault.message)
            return False
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("influxdb_unavailable", reason=str(error) or type(error).__name__)
            return False
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            # What the client library raises on JSON of somebody else.
            _log.warning("influxdb_unavailable", reason=f"its answer cannot be read: {error}"[:500])
            return False
        return True

    async def _bucket_exists(self, buckets: Any) -> bool:
        try:
            found = await buckets.get_buckets_async(org=self._org, name=self._bucket)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return bool(found.buckets)

    async def write(self, points: Sequence[TimeSeriesPoint]) -> None:
        """Write points; writing any of them again changes nothing.

        Raises:
            StoreUnavailable: InfluxDB does not answer or is overloaded, or refuses the token or bucket; write all again.
            PoisonPoints: InfluxDB refuses some; all others are written.
        """
        await write_around(points, self._write)

    async def _write(self, points: Sequence[TimeSeriesPoint]) -> None:
        body = bytearray()
        for point in points:
            try:
                line = format_point(point).encode()
            except (ValueError, OverflowError, TypeError) as error:
                raise Refused(f"not a point: {error}") from error
            if len(body) + len(line) >= MAX_BODY and body:
                await self._post(bytes(body))
                body.clear()
            body += line
            body += b"\n"
        await self._post(bytes(body))

    async def _post(self, body: bytes) -> None:
        try:
            await self._post_once(body)
        except ApiException as error:
            if error.status == 404 and await self.ensure_bucket():
                await self._call(self._post_once(body))
            else:
                raise self._sort(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unavailable(error) from error

    async def _post_once(self, body: bytes) -> None:
        await self._writes.post_write_async(
            self._org,
            self._bucket,
            # Level 1: higher ones cost more than they save on lines as alike as these.
            gzip.compress(body, compresslevel=1, mtime=0),
            precision="ns",
            content_encoding="gzip",
            async_req=False,
            _return_http_data_only=True,
        )

    async def _call(self, request: Any) -> Any:
        try:
            return await request
        except ApiException as error:
            raise self._sort(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unavailable(error) from error

    def _sort(self, error: ApiException) -> StoreUnavailable | Refused:
        """Distinguish refusals that the points caused from other errors."""
        fault = _fault(error)
        if (error.status, fault.code) in _REFUSALS:
            return Refused(fault.message)
        whose = "InfluxDB" if fault.code else "Not InfluxDB, but a server in its place,"
        reason = f"{whose} answered {error.status} for bucket {self._bucket}: {fault.message}"[:500]
        return Refused(reason, by_store=False) if error.status == 413 else StoreUnavailable(reason)

    async def _query(self, flux: str, course_id: str, start: datetime, stop: datetime, **more: Any) -> list[Any]:
        parameters = {
            "_bucket": self._bucket,
            "_measurement": ACTIVITY,
            "_course": course_id,
            "_start": start,
            "_stop": stop,
            **more,
        }
        try:
            tables = await self._call(self._client.query_api().query(flux, params=parameters))
        except (FluxQueryException, FluxCsvParserException) as error:
            # The query failed after its status was sent.
            raise _unavailable(error) from error
        return [record.values for table in tables for record in table.records]

    async def activity(
        self, course_id: str, *, start: datetime, stop: datetime, every: timedelta
    ) -> list[ActivityBucket]:
        """Return the buckets of [start, stop), empty ones included, oldest first; the first begins at ``start``.

        Raises:
            StoreUnavailable: InfluxDB does not answer.
            ValueError: the range is empty, a time has no zone, or there would be more than 2,000 buckets.
        """
        starts = bucket_starts(start, stop, every)
        # Flux counts windows from 1970; the offset moves them so that one begins at start.
        window = {"_every": every, "_offset": ((start - _EPOCH) % every)}
        try:
            counts, students = await asyncio.gather(
                self._query(_COUNTS, course_id, start, stop, **window),
                self._query(_STUDENTS, course_id, start, stop, **window),
            )
        except Refused as error:
            raise StoreUnavailable(f"InfluxDB refuses the query: {error}") from error
        found = {at: [0, 0, 0, 0] for at in starts}
        for row in counts:
            bucket = found[row["_time"]]
            bucket[0] += row["_value"]
            if row.get("type") == "cell_executed":
                bucket[1] += row["_value"]
                if row.get("status") == "error":
                    bucket[2] += row["_value"]
        for row in students:
            found[row["_start"]][3] = row["_value"]
        return [ActivityBucket(at, *found[at]) for at in starts]

    async def count(self, course_id: str) -> int:
        """Return how many events of a course are stored.

        Raises:
            StoreUnavailable: InfluxDB does not answer.
        """
        try:
            rows = await self._query(_TOTAL, course_id, *_FOREVER)
        except Refused as error:
            raise StoreUnavailable(f"InfluxDB refuses the query: {error}") from error
        return sum(row["_value"] for row in rows)


def _unavailable(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"InfluxDB: {type(error).__name__}: {error}"[:500])


async def _require_own_answer(response: aiohttp.ClientResponse) -> None:
    """Raise if a success is not one of InfluxDB's; errors go on to the client library."""
    if not 200 <= response.status < 300:
        return
    path = response.url.path
    if path.endswith(_WITHOUT_CONTENT):
        own = response.status == 204
    else:
        own = response.content_type == ("text/csv" if path.endswith("/api/v2/query") else "application/json")
    if not own:
        raise _ForeignAnswer(
            f"{response.status} {response.content_type} is no answer of InfluxDB: "
            "check CELL_MONITOR_INFLUXDB_URL and the proxies in between"
        )


def _fault(error: ApiException) -> _Fault:
    """Return InfluxDB's own error; one without a code is somebody else's."""
    try:
        fault = msgspec.json.decode(error.body or b"{}", type=_Fault)
    except msgspec.DecodeError:
        fault = _Fault()
    return _Fault(fault.code, (fault.message or str(error.reason))[:500])
