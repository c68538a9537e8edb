"""What one process of the API holds: clients, keys, and the services made of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Self

import asyncpg

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.hub_services import HubServices
from cell_monitor_api.oidc_services import oidc_sign_in
from cell_monitor_api.services.access import Access
from cell_monitor_api.services.activity import ActivityQuery
from cell_monitor_api.services.audit_log import AuditLog
from cell_monitor_api.services.credentials import ApiKeyVerifier, CredentialVerifier
from cell_monitor_api.services.device_cookies import DeviceCookies
from cell_monitor_api.services.help_desk import HelpDesk
from cell_monitor_api.services.hub_sign_in import HubSignIn
from cell_monitor_api.services.ingest import Ingest
from cell_monitor_api.services.ingest_metrics import IngestMetrics
from cell_monitor_api.services.join_limits import JoinLimits
from cell_monitor_api.services.joining import Joining, JoinSecretVerifier
from cell_monitor_api.services.known_senders import KnownSenders
from cell_monitor_api.services.link_sign_in import LinkSignIn
from cell_monitor_api.services.notices import Notices
from cell_monitor_api.services.oidc_sign_in import OidcSignIn
from cell_monitor_api.services.own_password import OwnPassword
from cell_monitor_api.services.password_checks import PasswordChecks
from cell_monitor_api.services.refusals import REFUSALS_INTERVAL_S, Refusals
from cell_monitor_api.services.refused_sign_ins import RefusedSignIns
from cell_monitor_api.services.retrying_publisher import RetryingPublisher
from cell_monitor_api.services.revocation_delivery import RevocationDelivery
from cell_monitor_api.services.sessions import Sessions
from cell_monitor_api.services.sign_in import PasswordSignIn
from cell_monitor_api.services.sign_in_limits import SignInLimits
from cell_monitor_api.services.signing import Signing
from cell_monitor_api.services.snapshots import Snapshots
from cell_monitor_api.services.token_buckets import TokenBuckets
from cell_monitor_api.services.token_exchange import TokenExchange
from cell_monitor_api.services.watermark_beats import WatermarkBeats
from cell_monitor_api.storage.refused_senders import RefusedSenders
from cell_monitor_api.storage.sign_in_attempts import SignInAttempts
from cell_monitor_api.storage.test_progress import TestProgress
from cell_monitor_core.administration.api_keys import ApiKeys
from cell_monitor_core.administration.course_list import CourseList
from cell_monitor_core.administration.course_settings import CourseSettings
from cell_monitor_core.administration.failed_events import FailedEventList, FailedEventReplay
from cell_monitor_core.administration.join_codes import JoinCodes
from cell_monitor_core.administration.roster import Roster
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.auth.revocations import RevocationList
from cell_monitor_core.auth.tokens import TokenVerifier
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.redis_client import RedisClient, aclose, connect
from cell_monitor_core.storage.ports import Broker, EventProducer
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool
from cell_monitor_core.storage.timeseries import create_time_series
from cell_monitor_core.streams.beats import RedisBeats
from cell_monitor_core.streams.fitness import FITNESS_INTERVAL_S, RedisFitness
from cell_monitor_core.streams.producer import RedisEventProducer
from cell_monitor_core.streams.revocations import INTERVAL_SECONDS, RedisRevocations, RevocationFeed
from cell_monitor_core.telemetry.background_tasks import background_task

__all__ = ["ProcessContext"]


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """One process's singletons; made at start, closed at the end, never changed in between."""

    settings: ApiSettings
    pool: asyncpg.Pool[asyncpg.Record]
    redis: RedisClient
    fitness: RedisFitness
    producer: EventProducer
    broker: Broker
    signing: Signing
    api_verifier: TokenVerifier
    ingest_verifier: TokenVerifier
    access: Access
    activity: ActivityQuery
    api_keys: ApiKeys
    audit_log: AuditLog
    course_list: CourseList
    course_settings: CourseSettings
    devices: DeviceCookies
    exchange: TokenExchange
    failed_events: FailedEventList
    failed_event_replay: FailedEventReplay
    hub_sign_in: HubSignIn | None
    oidc_sign_in: OidcSignIn | None
    help_desk: HelpDesk
    ingest: Ingest
    join_codes: JoinCodes
    joining: Joining
    roster: Roster
    own_password: OwnPassword
    password_sign_in: PasswordSignIn
    refusals: Refusals
    refused_sign_ins: RefusedSignIns
    link_sign_in: LinkSignIn
    sessions: Sessions
    snapshots: Snapshots
    test_progress: TestProgress
    _closing: AsyncExitStack

    @classmethod
    async def from_settings(cls, settings: ApiSettings) -> Self:
        """Open everything. Neither Redis nor PostgreSQL need answer yet.

        Raises:
            SettingsError, SigningKeysError: a secret cannot be used.
        """
        assert settings.database_url is not None and settings.signing_keys is not None  # noqa: PT018 - see ApiSettings
        keyring = KeyRing.from_settings(settings)
        index = BlindIndex.from_settings(settings)
        async with AsyncExitStack() as stack:
            pool = await create_pool(
                settings.database_url,
                application_name="cell-monitor-api",
                min_size=0,
                max_size=settings.api_database_connections,
            )
            stack.push_async_callback(close_pool, pool)
            redis = connect(settings.redis_url.get_secret_value(), name="cell-monitor-api")
            stack.push_async_callback(aclose, redis)
            producer = RedisEventProducer(redis, partitions=settings.partitions)
            stack.push_async_callback(producer.aclose)
            fitness = RedisFitness(redis, producer.refuse, partitions=settings.partitions)
            await stack.enter_async_context(
                background_task("redis-fitness", fitness.step, interval_s=FITNESS_INTERVAL_S)
            )
            broker = RedisBroker(redis, partitions=settings.partitions)
            beats = WatermarkBeats(RedisBeats(redis, partitions=settings.partitions))
            beats.start()
            stack.push_async_callback(beats.aclose)
            time_series = await create_time_series(settings, pool)
            stack.push_async_callback(time_series.close)
            source: Literal["postgresql", "influxdb"] = "postgresql" if settings.influxdb_url is None else "influxdb"
            signing = Signing(
                settings.signing_keys.get_secret_value(),
                settings.signing_keys_path,
                lifetime_s=settings.api_token_lifetime_s,
                issuer=settings.token_issuer,
            )
            signing.start()
            stack.push_async_callback(signing.aclose)
            revoked = RevocationList()
            # A connection that it keeps: revocations are delivered also while all others wait, or no more can be made.
            delivering = await create_pool(
                settings.database_url, application_name="cell-monitor-api-revocations", min_size=0, max_size=1
            )
            stack.push_async_callback(close_pool, delivering)
            delivery = RevocationDelivery(delivering, RedisRevocations(redis))
            known = KnownSenders(revoked, lambda: delivery.complete_at)
            for name, step in (
                ("revocations", RevocationFeed(RedisRevocations(redis), revoked, on_look=known.looked).read),
                ("revocation-delivery", delivery.step),
            ):
                await stack.enter_async_context(background_task(name, step, interval_s=INTERVAL_SECONDS))
            publisher = RetryingPublisher(Publisher(broker))
            stack.push_async_callback(publisher.aclose)
            counters = Counters(pool, broker, publisher)
            notices = Notices(pool, keyring)
            stack.push_async_callback(notices.aclose)
            hasher = PasswordHasher()
            stack.callback(hasher.close)
            refusals = Refusals(pool, index, RefusedSenders(redis, partitions=settings.partitions))
            await stack.enter_async_context(background_task("refusals", refusals.step, interval_s=REFUSALS_INTERVAL_S))
            progress = TestProgress(redis, partitions=settings.partitions)
            attempts = SignInAttempts(redis)
            limits = SignInLimits(
                attempts,
                index,
                window_s=settings.api_sign_in_window_s,
                per_account=settings.api_sign_in_per_account,
                per_account_hour=settings.api_sign_in_per_account_hour,
                per_address=settings.api_sign_in_per_address,
            )
            refused = RefusedSignIns(pool, keyring, index)
            devices = DeviceCookies(index, lifetime=timedelta(days=settings.api_device_days))
            checks = PasswordChecks(hasher, limits, devices, refused)
            verifiers: list[CredentialVerifier] = [
                ApiKeyVerifier(pool, keyring, index, act_as=settings.allows_act_as),
                JoinSecretVerifier(pool, keyring),
            ]
            hub = await HubServices.open(settings, pool, keyring, index, counters, stack)
            if hub is not None:
                verifiers.append(hub.tokens)
            sessions = Sessions(
                pool,
                keyring,
                signing.issuer,
                lifetime=timedelta(days=settings.api_sign_in_days),
                idle=timedelta(hours=settings.api_sign_in_idle_hours),
                hub=None if hub is None else hub.sessions,
            )
            return cls(
                settings=settings,
                pool=pool,
                redis=redis,
                fitness=fitness,
                producer=producer,
                broker=broker,
                signing=signing,
                api_verifier=TokenVerifier(signing, "api", revocations=revoked, issuer=settings.token_issuer),
                ingest_verifier=TokenVerifier(signing, "ingest", revocations=revoked, issuer=settings.token_issuer),
                access=Access(pool, keyring),
                activity=ActivityQuery(time_series, source),
                api_keys=ApiKeys(pool, keyring, index),
                audit_log=AuditLog(pool, keyring, index),
                course_list=CourseList(pool),
                course_settings=CourseSettings(pool, counters, issuers=settings.group_issuers),
                devices=devices,
                exchange=TokenExchange(pool, signing.issuer, verifiers, known),
                failed_events=FailedEventList(pool, keyring),
                failed_event_replay=FailedEventReplay(pool, keyring, producer),
                hub_sign_in=None if hub is None else hub.sign_in(sessions),
                oidc_sign_in=oidc_sign_in(settings, pool, keyring, index, counters, sessions, stack),
                help_desk=HelpDesk(pool, keyring, publisher, counters),
                ingest=Ingest(
                    producer=producer,
                    buckets=TokenBuckets(
                        capacity=settings.api_bucket_events, refill_per_second=settings.api_bucket_refill_per_s
                    ),
                    notices=notices,
                    progress=progress,
                    metrics=IngestMetrics(),
                    refusals=refusals,
                ),
                join_codes=JoinCodes(pool, index, counters),
                joining=Joining(
                    pool,
                    keyring,
                    index,
                    counters,
                    JoinLimits(
                        attempts,
                        index,
                        window_s=settings.api_sign_in_window_s,
                        per_address=settings.api_join_per_address,
                        per_code=settings.api_join_per_code,
                    ),
                    most=settings.api_join_people,
                ),
                refusals=refusals,
                refused_sign_ins=refused,
                roster=Roster(
                    pool,
                    keyring,
                    index,
                    counters,
                    issuers=[] if settings.student_issuer is None else [settings.student_issuer],
                ),
                own_password=OwnPassword(pool, keyring, hasher, checks, sessions),
                password_sign_in=PasswordSignIn(pool, index, hasher, checks, sessions),
                link_sign_in=LinkSignIn(pool, limits, sessions, refused),
                sessions=sessions,
                snapshots=Snapshots(pool, keyring, broker),
                test_progress=progress,
                _closing=stack.pop_all(),
            )

    async def aclose(self) -> None:
        """Close everything, last opened first."""
        await self._closing.aclose()
