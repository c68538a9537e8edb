"""Hazard: a route that is opened to a caller who may not use it, without a test that fails.

The tables below were typed from docs/dev/contracts.md and docs/adr/0009. They are never computed from the code: every
route is tried over HTTP, on a real process, with every identity, and a route without a row fails the test.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import httpx
import jwt
import pytest
from fastapi.routing import iter_route_contexts

from cell_monitor.embedded.process import free_port
from cell_monitor_api.main import create_api
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.auth.scopes import Scope
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import (
    accounts,
    api_keys,
    course_links,
    courses,
    join_codes,
    memberships,
    people,
    sign_in_links,
)
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool
from cell_monitor_testing.keys import NEWEST_GENERATION, SampleSecrets
from cell_monitor_testing.processes import ServiceProcess

PASSWORD = "correct horse battery"

# Each cell: ok (2xx), or the status of the refusal. 401: no valid token for this route; 403: known and not allowed;
# 404: not allowed to learn that the course exists. No JupyterHub and no OpenID Connect provider are configured here, so that nobody signs in with one.

PEOPLE = """
                                                              nobody student observer assistant instructor outsider removed stranger admin former-admin
GET    /api/v1/openapi.json                                   ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/events                                         401    401     401      401       401        401      401     401      401   401
POST   /api/v1/test/events/{test_id}                          401    401     401      401       401        401      401     401      401   401
GET    /api/v1/test/events/{test_id}                          401    401     401      401       401        401      401     401      401   401
POST   /api/v1/auth/login                                     ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/auth/link                                      ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /api/v1/auth/hub/start                                 404    404     404      404       404        404      404     404      404   404
GET    /api/v1/auth/hub/callback                              404    404     404      404       404        404      404     404      404   404
GET    /api/v1/auth/oidc/start                                404    404     404      404       404        404      404     404      404   404
GET    /api/v1/auth/oidc/callback                             404    404     404      404       404        404      404     404      404   404
POST   /api/v1/auth/refresh                                   401    ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/auth/logout                                    ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/auth/token                                     401    401     401      401       401        401      401     401      401   401
GET    /api/v1/auth/jwks.json                                 ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/auth/join                                      ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /api/v1/me                                             401    ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /api/v1/courses                                        401    ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/courses                                        401    403     403      403       403        403      403     403      ok    403
GET    /api/v1/courses/{course_id}/members                    401    403     403      403       ok         404      404     404      ok    404
PUT    /api/v1/courses/{course_id}/members                    401    403     403      403       ok         404      404     404      ok    404
DELETE /api/v1/courses/{course_id}/members/{person_id}        401    403     403      403       ok         404      404     404      ok    404
POST   /api/v1/courses/{course_id}/members/{person_id}/merge  401    403     403      403       ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/join-code                  401    403     403      403       ok         404      404     404      ok    404
POST   /api/v1/courses/{course_id}/join-code                  401    403     403      403       ok         404      404     404      ok    404
DELETE /api/v1/courses/{course_id}/join-code                  401    403     403      403       ok         404      404     404      ok    404
DELETE /api/v1/courses/{course_id}/joined                     401    403     403      403       ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/settings                   401    403     403      403       ok         404      404     404      ok    404
PATCH  /api/v1/courses/{course_id}/settings                   401    403     403      403       ok         404      404     404      ok    404
POST   /api/v1/courses/{course_id}/group-links                401    403     403      403       403        404      404     404      ok    404
DELETE /api/v1/courses/{course_id}/group-links                401    403     403      403       403        404      404     404      ok    404
GET    /api/v1/courses/{course_id}/state                      401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/cells                      401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/refusals                  401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/activity                   401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/students                   401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/students/{student_id}      401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/students/{student_id}/runs 401    403     ok       ok        ok         404      404     404      ok    404
GET    /api/v1/courses/{course_id}/help                       401    403     ok       ok        ok         404      404     404      ok    404
POST   /api/v1/courses/{course_id}/help/{request_id}/claim    401    403     403      ok        ok         404      404     404      ok    404
POST   /api/v1/courses/{course_id}/help/{request_id}/release  401    403     403      ok        ok         404      404     404      ok    404
POST   /api/v1/courses/{course_id}/help/{request_id}/resolve  401    403     403      ok        ok         404      404     404      ok    404
POST   /api/v1/api-keys                                       401    403     403      403       403        403      403     403      ok    403
GET    /api/v1/api-keys                                       401    403     403      403       403        403      403     403      ok    403
GET    /api/v1/failed-events                                  401    403     403      403       403        403      403     403      ok    403
GET    /api/v1/failed-events/waiting                          401    403     403      403       403        403      403     403      ok    403
POST   /api/v1/failed-events/replay                           401    403     403      403       403        403      403     403      ok    403
DELETE /api/v1/api-keys/{key_id}                              401    403     403      403       403        403      403     403      ok    403
GET    /api/v1/config                                         ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /extension/{name}                                      ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /livez                                                 ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /readyz                                                ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /metrics                                               ok     ok      ok       ok        ok         ok       ok      ok       ok    ok
GET    /api/v1/audit                                          401    403     403      403       403        403      403     403      ok    403
GET    /api/v1/courses/{course_id}/audit                      401    403     403      403       ok         404      404     404      ok    404
GET    /api/v1/auth/password                                401    ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/auth/password                                401    ok      ok       ok        ok         ok       ok      ok       ok    ok
POST   /api/v1/auth/logout-everywhere                         401    ok      ok       ok        ok         ok       ok      ok       ok    ok
"""
"""People who signed in with a password. Roles are in the course c1, which the requests name; ``outsider`` is an
instructor of another course; ``removed`` was an instructor, and ``former-admin`` an admin, when they signed in."""

SERVICE_KEYS = """
                                                              events:write test:write people:act_as roster:write courses:read admin
GET    /api/v1/openapi.json                                   ok           ok         ok            ok           ok           ok
POST   /api/v1/events                                         403          403        401           401          401          401
POST   /api/v1/test/events/{test_id}                          403          ok         401           401          401          401
GET    /api/v1/test/events/{test_id}                          403          ok         401           401          401          401
POST   /api/v1/auth/login                                     ok           ok         ok            ok           ok           ok
POST   /api/v1/auth/link                                      ok           ok         ok            ok           ok           ok
GET    /api/v1/auth/hub/start                                 404          404        404           404          404          404
GET    /api/v1/auth/hub/callback                              404          404        404           404          404          404
GET    /api/v1/auth/oidc/start                                404          404        404           404          404          404
GET    /api/v1/auth/oidc/callback                             404          404        404           404          404          404
POST   /api/v1/auth/refresh                                   401          401        401           401          401          401
POST   /api/v1/auth/logout                                    ok           ok         ok            ok           ok           ok
POST   /api/v1/auth/token                                     401          401        403           401          401          401
GET    /api/v1/auth/jwks.json                                 ok           ok         ok            ok           ok           ok
POST   /api/v1/auth/join                                      ok           ok         ok            ok           ok           ok
GET    /api/v1/me                                             401          401        401           401          401          401
GET    /api/v1/courses                                        401          401        401           403          ok           ok
POST   /api/v1/courses                                        401          401        401           403          403          ok
GET    /api/v1/courses/{course_id}/members                    401          401        401           ok           403          ok
PUT    /api/v1/courses/{course_id}/members                    401          401        401           ok           403          ok
DELETE /api/v1/courses/{course_id}/members/{person_id}        401          401        401           ok           403          ok
POST   /api/v1/courses/{course_id}/members/{person_id}/merge  401          401        401           ok           403          ok
GET    /api/v1/courses/{course_id}/join-code                  401          401        401           ok           403          ok
POST   /api/v1/courses/{course_id}/join-code                  401          401        401           ok           403          ok
DELETE /api/v1/courses/{course_id}/join-code                  401          401        401           ok           403          ok
DELETE /api/v1/courses/{course_id}/joined                     401          401        401           ok           403          ok
GET    /api/v1/courses/{course_id}/settings                   401          401        401           403          403          ok
PATCH  /api/v1/courses/{course_id}/settings                   401          401        401           403          403          ok
POST   /api/v1/courses/{course_id}/group-links                401          401        401           403          403          ok
DELETE /api/v1/courses/{course_id}/group-links                401          401        401           403          403          ok
GET    /api/v1/courses/{course_id}/state                      401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/cells                      401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/refusals                  401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/activity                   401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/students                   401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/students/{student_id}      401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/students/{student_id}/runs 401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/help                       401          401        401           403          ok           ok
POST   /api/v1/courses/{course_id}/help/{request_id}/claim    401          401        401           403          403          403
POST   /api/v1/courses/{course_id}/help/{request_id}/release  401          401        401           403          403          403
POST   /api/v1/courses/{course_id}/help/{request_id}/resolve  401          401        401           403          403          403
POST   /api/v1/api-keys                                       401          401        401           403          403          ok
GET    /api/v1/api-keys                                       401          401        401           403          403          ok
GET    /api/v1/failed-events                                  401          401        401           403          403          ok
GET    /api/v1/failed-events/waiting                          401          401        401           403          403          ok
POST   /api/v1/failed-events/replay                           401          401        401           403          403          ok
DELETE /api/v1/api-keys/{key_id}                              401          401        401           403          403          ok
GET    /api/v1/config                                         ok           ok         ok            ok           ok           ok
GET    /extension/{name}                                      ok           ok         ok            ok           ok           ok
GET    /livez                                                 ok           ok         ok            ok           ok           ok
GET    /readyz                                                ok           ok         ok            ok           ok           ok
GET    /metrics                                               ok           ok         ok            ok           ok           ok
GET    /api/v1/audit                                          401          401        401           403          403          ok
GET    /api/v1/courses/{course_id}/audit                      401          401        401           403          403          ok
GET    /api/v1/auth/password                                401          401        401           401          401          401
POST   /api/v1/auth/password                                401          401        401           401          401          401
POST   /api/v1/auth/logout-everywhere                         401          401        401           401          401          401
"""
"""Services: API keys that belong to nobody, each with one scope. Where the key gets a token for the route's audience,
that token is sent; else one that it gets for another audience; else, as with ``people:act_as`` alone, the key itself."""

INSTRUCTOR_KEYS = """
                                                              events:write test:write people:act_as roster:write courses:read admin
GET    /api/v1/openapi.json                                   ok           ok         ok            ok           ok           ok
POST   /api/v1/events                                         ok           403        401           401          401          401
POST   /api/v1/test/events/{test_id}                          403          ok         401           401          401          401
GET    /api/v1/test/events/{test_id}                          403          ok         401           401          401          401
POST   /api/v1/auth/login                                     ok           ok         ok            ok           ok           ok
POST   /api/v1/auth/link                                      ok           ok         ok            ok           ok           ok
GET    /api/v1/auth/hub/start                                 404          404        404           404          404          404
GET    /api/v1/auth/hub/callback                              404          404        404           404          404          404
GET    /api/v1/auth/oidc/start                                404          404        404           404          404          404
GET    /api/v1/auth/oidc/callback                             404          404        404           404          404          404
POST   /api/v1/auth/refresh                                   401          401        401           401          401          401
POST   /api/v1/auth/logout                                    ok           ok         ok            ok           ok           ok
POST   /api/v1/auth/token                                     401          401        403           401          401          401
GET    /api/v1/auth/jwks.json                                 ok           ok         ok            ok           ok           ok
POST   /api/v1/auth/join                                      ok           ok         ok            ok           ok           ok
GET    /api/v1/me                                             401          401        401           ok           ok           ok
GET    /api/v1/courses                                        401          401        401           403          ok           ok
POST   /api/v1/courses                                        401          401        401           403          403          403
GET    /api/v1/courses/{course_id}/members                    401          401        401           ok           403          ok
PUT    /api/v1/courses/{course_id}/members                    401          401        401           ok           403          ok
DELETE /api/v1/courses/{course_id}/members/{person_id}        401          401        401           ok           403          ok
POST   /api/v1/courses/{course_id}/members/{person_id}/merge  401          401        401           ok           403          ok
GET    /api/v1/courses/{course_id}/join-code                  401          401        401           ok           403          ok
POST   /api/v1/courses/{course_id}/join-code                  401          401        401           ok           403          ok
DELETE /api/v1/courses/{course_id}/join-code                  401          401        401           ok           403          ok
DELETE /api/v1/courses/{course_id}/joined                     401          401        401           ok           403          ok
GET    /api/v1/courses/{course_id}/settings                   401          401        401           403          403          ok
PATCH  /api/v1/courses/{course_id}/settings                   401          401        401           403          403          ok
POST   /api/v1/courses/{course_id}/group-links                401          401        401           403          403          403
DELETE /api/v1/courses/{course_id}/group-links                401          401        401           403          403          403
GET    /api/v1/courses/{course_id}/state                      401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/cells                      401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/refusals                  401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/activity                   401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/students                   401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/students/{student_id}      401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/students/{student_id}/runs 401          401        401           403          ok           ok
GET    /api/v1/courses/{course_id}/help                       401          401        401           403          ok           ok
POST   /api/v1/courses/{course_id}/help/{request_id}/claim    401          401        401           403          403          ok
POST   /api/v1/courses/{course_id}/help/{request_id}/release  401          401        401           403          403          ok
POST   /api/v1/courses/{course_id}/help/{request_id}/resolve  401          401        401           403          403          ok
POST   /api/v1/api-keys                                       401          401        401           403          403          403
GET    /api/v1/api-keys                                       401          401        401           403          403          403
GET    /api/v1/failed-events                                  401          401        401           403          403          403
GET    /api/v1/failed-events/waiting                          401          401        401           403          403          403
POST   /api/v1/failed-events/replay                           401          401        401           403          403          403
DELETE /api/v1/api-keys/{key_id}                              401          401        401           403          403          403
GET    /api/v1/config                                         ok           ok         ok            ok           ok           ok
GET    /extension/{name}                                      ok           ok         ok            ok           ok           ok
GET    /livez                                                 ok           ok         ok            ok           ok           ok
GET    /readyz                                                ok           ok         ok            ok           ok           ok
GET    /metrics                                               ok           ok         ok            ok           ok           ok
GET    /api/v1/audit                                          401          401        401           403          403          403
GET    /api/v1/courses/{course_id}/audit                      401          401        401           403          403          ok
GET    /api/v1/auth/password                                401          401        401           401          401          401
POST   /api/v1/auth/password                                401          401        401           401          401          401
POST   /api/v1/auth/logout-everywhere                         401          401        401           401          401          401
"""
"""API keys of the instructor of c1, each with one scope."""

OTHER_TOKENS = """
                                                              student* observer* outsider* admin-admin admin-read act_as expired gateway forged  no-scopes no-grant
GET    /api/v1/openapi.json                                   ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
POST   /api/v1/events                                         ok       ok        403       401         401        ok     401     401     401     401       401
POST   /api/v1/test/events/{test_id}                          ok       ok        ok        401         401        403    401     401     401     401       401
GET    /api/v1/test/events/{test_id}                          ok       ok        ok        401         401        403    401     401     401     401       401
POST   /api/v1/auth/login                                     ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
POST   /api/v1/auth/link                                      ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /api/v1/auth/hub/start                                 404      404       404       404         404        404    404     404     404     404       404
GET    /api/v1/auth/hub/callback                              404      404       404       404         404        404    404     404     404     404       404
GET    /api/v1/auth/oidc/start                                404      404       404       404         404        404    404     404     404     404       404
GET    /api/v1/auth/oidc/callback                             404      404       404       404         404        404    404     404     404     404       404
POST   /api/v1/auth/refresh                                   401      401       401       401         401        401    401     401     401     401       401
POST   /api/v1/auth/logout                                    ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
POST   /api/v1/auth/token                                     401      401       401       401         401        401    401     401     401     401       401
GET    /api/v1/auth/jwks.json                                 ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
POST   /api/v1/auth/join                                      ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /api/v1/me                                             ok       ok        ok        ok          ok         401    401     401     401     403       401
GET    /api/v1/courses                                        ok       ok        ok        ok          ok         401    401     401     401     403       401
POST   /api/v1/courses                                        403      403       403       ok          403        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/members                    403      403       404       ok          404        401    401     401     401     403       401
PUT    /api/v1/courses/{course_id}/members                    403      403       404       ok          404        401    401     401     401     403       401
DELETE /api/v1/courses/{course_id}/members/{person_id}        403      403       404       ok          404        401    401     401     401     403       401
POST   /api/v1/courses/{course_id}/members/{person_id}/merge  403      403       404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/join-code                  403      403       404       ok          404        401    401     401     401     403       401
POST   /api/v1/courses/{course_id}/join-code                  403      403       404       ok          404        401    401     401     401     403       401
DELETE /api/v1/courses/{course_id}/join-code                  403      403       404       ok          404        401    401     401     401     403       401
DELETE /api/v1/courses/{course_id}/joined                     403      403       404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/settings                   403      403       404       ok          404        401    401     401     401     403       401
PATCH  /api/v1/courses/{course_id}/settings                   403      403       404       ok          404        401    401     401     401     403       401
POST   /api/v1/courses/{course_id}/group-links                403      403       404       ok          404        401    401     401     401     403       401
DELETE /api/v1/courses/{course_id}/group-links                403      403       404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/state                      403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/cells                      403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/refusals                  403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/activity                   403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/students                   403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/students/{student_id}      403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/students/{student_id}/runs 403      ok        404       ok          404        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/help                       403      ok        404       ok          404        401    401     401     401     403       401
POST   /api/v1/courses/{course_id}/help/{request_id}/claim    403      403       404       ok          404        401    401     401     401     403       401
POST   /api/v1/courses/{course_id}/help/{request_id}/release  403      403       404       ok          404        401    401     401     401     403       401
POST   /api/v1/courses/{course_id}/help/{request_id}/resolve  403      403       404       ok          404        401    401     401     401     403       401
POST   /api/v1/api-keys                                       403      403       403       ok          403        401    401     401     401     403       401
GET    /api/v1/api-keys                                       403      403       403       ok          403        401    401     401     401     403       401
GET    /api/v1/failed-events                                  403      403       403       ok          403        401    401     401     401     403       401
GET    /api/v1/failed-events/waiting                          403      403       403       ok          403        401    401     401     401     403       401
POST   /api/v1/failed-events/replay                           403      403       403       ok          403        401    401     401     401     403       401
DELETE /api/v1/api-keys/{key_id}                              403      403       403       ok          403        401    401     401     401     403       401
GET    /api/v1/config                                         ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /extension/{name}                                      ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /livez                                                 ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /readyz                                                ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /metrics                                               ok       ok        ok        ok          ok         ok     ok      ok      ok      ok        ok
GET    /api/v1/audit                                          403      403       403       ok          403        401    401     401     401     403       401
GET    /api/v1/courses/{course_id}/audit                      403      403       404       ok          404        401    401     401     401     403       401
GET    /api/v1/auth/password                                401      401       401       401         401        401    401     401     401     401       401
POST   /api/v1/auth/password                                401      401       401       401         401        401    401     401     401     401       401
POST   /api/v1/auth/logout-everywhere                         401      401       401       401         401        401    401     401     401     401       401
"""
"""``x*``: a key of that person with every scope. ``admin-admin``, ``admin-read``: a site admin's keys with the scope
``admin``, with ``courses:read`` alone. ``act_as``: a token of the instructor, got with a lab server's key. ``expired``,
``gateway`` (the wrong audience), ``forged`` (signed with another key): an admin's session tokens that are not valid here. ``no-scopes``: an admin's, made by an API key
without any scope; ``no-grant``: an admin's that does not say by which grant it was made."""

TABLES = {"": PEOPLE, "service ": SERVICE_KEYS, "instructor's ": INSTRUCTOR_KEYS, "token ": OTHER_TOKENS}

Route = tuple[str, str]


def _rows(prefix: str, table: str) -> dict[Route, dict[str, str]]:
    """Return the outcome by identity by route of one table."""
    head, *lines = table.strip().splitlines()
    identities = [prefix + name for name in head.split()]
    rows: dict[Route, dict[str, str]] = {}
    for line in lines:
        method, path, *cells = line.split()
        assert (method, path) not in rows, f"twice in the table: {method} {path}"
        rows[method, path] = dict(zip(identities, cells, strict=True))
    return rows


def _all_rows() -> dict[Route, dict[str, str]]:
    merged: dict[Route, dict[str, str]] = {}
    for prefix, table in TABLES.items():
        for route, cells in _rows(prefix, table).items():
            merged.setdefault(route, {}).update(cells)
    return merged


EXPECTED = _all_rows()
IDENTITIES = list(next(iter(EXPECTED.values())))


def _routes_of_the_api() -> set[Route]:
    return {
        (method, route.path)
        for route in iter_route_contexts(create_api(None).routes)
        # Starlette adds HEAD to its own routes.
        for method in (route.methods or {"every method"}) - {"HEAD"}
    }


def test_every_route_has_a_row_for_every_identity_and_every_row_a_route() -> None:
    routes = _routes_of_the_api()
    for prefix, table in TABLES.items():
        listed = set(_rows(prefix, table))
        assert routes - listed == set(), f"routes without a row in the table of {prefix or 'people'!r}"
        assert listed - routes == set(), f"rows without a route in the table of {prefix or 'people'!r}"
    assert {len(cells) for cells in EXPECTED.values()} == {len(IDENTITIES)}
    assert {cell for cells in EXPECTED.values() for cell in cells.values()} == {"ok", "401", "403", "404"}


def test_every_role_and_every_scope_is_tried() -> None:
    assert set(Role) <= set(IDENTITIES)
    for scope in Scope:
        assert {f"service {scope}", f"instructor's {scope}"} <= set(IDENTITIES)


@dataclass
class Callers:
    """A running API, and what each identity presents to it.

    Attributes:
        tokens: by identity and audience, as traded or issued.
        cookies: of those who signed in.
    """

    client: httpx.AsyncClient
    pool: asyncpg.Pool[asyncpg.Record]
    keyring: KeyRing
    index: BlindIndex
    ids: dict[str, UUID] = field(default_factory=dict)
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    help_id: str = ""
    code: str = ""
    wheel: str = "jupyterlab_cell_monitor-0.1.0-py3-none-any.whl"

    async def person(self, name: str, password_hash: str, *, admin: bool = False) -> None:
        self.ids[name] = await people.upsert(self.pool, self.keyring, self.index, username=name)
        await people.set_admin(self.pool, self.ids[name], is_admin=admin)
        await accounts.set_password(self.pool, self.ids[name], password_hash)

    async def sign_in(self, name: str) -> None:
        answer = await self.client.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.tokens[name] = {"api": answer.json()["access_token"]}
        self.cookies[name] = answer.headers["set-cookie"].partition(";")[0]
        self.client.cookies.clear()

    async def trade(self, identity: str, *scopes: str, person: str | None = None, act_as: str | None = None) -> None:
        """Make a key and trade it for a token of each audience that it opens."""
        _, key = await api_keys.create(
            self.pool,
            name=identity,
            scopes=scopes,
            expires_at=datetime.now(UTC) + timedelta(days=1),
            person_id=None if person is None else self.ids[person],
        )
        self.tokens[identity] = {}
        for audience in ("api", "ingest", "gateway"):
            answer = await self.client.post(
                "/api/v1/auth/token",
                headers={"authorization": f"ApiKey {key}"},
                json={"audience": audience} | ({} if act_as is None else {"act_as": act_as}),
            )
            if answer.status_code == 200:
                self.tokens[identity][audience] = answer.json()["access_token"]
            else:
                assert answer.status_code == 403, answer.text
        self.tokens[identity].setdefault("key", key)

    def headers(self, identity: str, route: Route) -> dict[str, str]:
        headers = {}
        path = route[1]
        if path.endswith(("/auth/refresh", "/auth/logout-everywhere", "/auth/password")) and identity in self.cookies:
            headers["cookie"] = self.cookies[identity]
        if identity == "nobody":
            return headers
        held = self.tokens[identity]
        wanted = "ingest" if "/events" in path else "api"
        if wanted in held or list(held) != ["key"]:
            token = held.get(wanted) or next(token for name, token in held.items() if name != "key")
            return headers | {"authorization": f"Bearer {token}"}
        return headers | {"authorization": f"ApiKey {held['key']}"}


@pytest.fixture
async def callers(
    database: str, valkey: str, secrets: SampleSecrets, tmp_path: Path, make_event: Callable[..., dict[str, Any]]
) -> AsyncIterator[Callers]:
    port = free_port()
    (tmp_path / Callers.wheel).write_bytes(b"a wheel")
    process = ServiceProcess(
        "cell_monitor_api",
        env={
            "CELL_MONITOR_API_PORT": str(port),
            "CELL_MONITOR_REDIS_URL": valkey,
            "CELL_MONITOR_DATABASE_URL": database,
            "CELL_MONITOR_TEST_MODE": "true",
            # Of its groups there can be links.
            "CELL_MONITOR_API_HUB_URL": "http://127.0.0.1:9/hub/api",
            "CELL_MONITOR_API_ACT_AS_KEYS": "true",
            "CELL_MONITOR_API_EXTENSION_WHEEL": str(tmp_path / Callers.wheel),
            "CELL_MONITOR_API_SIGN_IN_PER_ACCOUNT": "10000",
            "CELL_MONITOR_API_SIGN_IN_PER_ADDRESS": "10000",
            **secrets.environment,
        },
        port=port,
        log_path=tmp_path / "api.log",
    )
    pool = await create_pool(database, application_name="test", max_size=2)
    keyring, index = KeyRing.from_json(secrets.encryption_keys), BlindIndex(base64.b64decode(secrets.index_key))
    try:
        async with process, httpx.AsyncClient(base_url=process.url, timeout=60, trust_env=False) as client:
            callers = Callers(client, pool, keyring, index)
            await _populate(callers, make_event)
            await _issue(callers, secrets)
            assert set(IDENTITIES) == set(callers.tokens) | {"nobody"}
            yield callers
    finally:
        await close_pool(pool)


async def _populate(callers: Callers, make_event: Callable[..., dict[str, Any]]) -> None:
    """Add two courses and their people, sign everybody in, then remove rights of two of them."""
    pool, ids = callers.pool, callers.ids
    password_hash = hash_password(PASSWORD)
    for name in ("student", "observer", "assistant", "instructor", "outsider", "removed", "stranger", "second"):
        await callers.person(name, password_hash)
    for name in ("admin", "former-admin"):
        await callers.person(name, password_hash, admin=True)
    await courses.create(pool, "c1", "Course 1")
    await courses.create(pool, "c2", "Course 2")
    roles = {"removed": "instructor", "second": "student"} | {role: str(role) for role in Role}
    await memberships.upsert_many(pool, "c1", {ids[name]: role for name, role in roles.items()})
    await memberships.upsert_many(pool, "c2", {ids["outsider"]: "instructor"})
    for name in set(ids) - {"second"}:
        await callers.sign_in(name)
    await memberships.remove(pool, "c1", ids["removed"])
    await people.set_admin(pool, ids["former-admin"], is_admin=False)
    event = json.dumps(make_event("help_requested", cell=None)).encode()
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    await PostgresFactStore(pool, callers.keyring).apply([StreamRecord(ids["student"].bytes, "c1", now_ms, event)])
    callers.help_id = str(await pool.fetchval("SELECT request_id FROM help_requests"))


async def _issue(callers: Callers, secrets: SampleSecrets) -> None:
    """Trade keys for tokens; make the tokens that are not valid here."""
    for scope in Scope:
        await callers.trade(f"service {scope}", scope)
        await callers.trade(f"instructor's {scope}", scope, person="instructor")
    for name in ("student", "observer", "outsider"):
        await callers.trade(f"token {name}*", *Scope, person=name)
    await callers.trade("token admin-admin", "admin", person="admin")
    await callers.trade("token admin-read", "courses:read", person="admin")
    await callers.trade("token act_as", "events:write", "people:act_as", act_as="instructor")
    ours, foreign = SigningKeys.load(secrets.signing_keys), SigningKeys.generate()
    withheld: dict[str, Any] = {
        "iss": "cell-monitor",
        "sub": str(callers.ids["admin"]),
        "aud": ["api"],
        "iat": int(datetime.now(UTC).timestamp()),
        "exp": int(datetime.now(UTC).timestamp()) + 600,
        "jti": "x",
        "courses": {"c1": "instructor"},
        "scopes": [],
        "admin": True,
    }
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    admin: dict[str, Any] = {"person_id": callers.ids["admin"], "courses": {"c1": "instructor"}, "admin": True}
    admin["generation"] = NEWEST_GENERATION
    # As tokens that the news of their revocation has not reached: what the database says counts all the same.
    for name, rights in {"removed": {"courses": {"c1": "instructor"}}, "former-admin": {"admin": True}}.items():
        token, _ = TokenIssuer(ours).issue(
            grant=Grant.SESSION,
            person_id=callers.ids[name],
            audience=["api", "gateway"],
            generation=NEWEST_GENERATION,
            **cast("dict[str, Any]", rights),
        )
        callers.tokens[name] = dict.fromkeys(callers.tokens[name], token)
    callers.tokens |= {
        "token expired": {
            "api": TokenIssuer(ours, clock=lambda: long_ago).issue(grant=Grant.SESSION, audience=["api"], **admin)[0]
        },
        "token gateway": {"gateway": TokenIssuer(ours).issue(grant=Grant.SESSION, audience=["gateway"], **admin)[0]},
        "token no-scopes": {"api": TokenIssuer(ours).issue(grant=Grant.API_KEY, audience=["api"], **admin)[0]},
        "token no-grant": {"api": jwt.encode(withheld, ours.private_key, "EdDSA", {"kid": ours.active})},
        "token forged": {"api": TokenIssuer(foreign).issue(grant=Grant.SESSION, audience=["api"], **admin)[0]},
    }


async def _prepare(callers: Callers, route: Route, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Put what the route works on back to where it can be done; return the URL and the body of a good request."""
    path = route[1]
    key_id = uuid4().hex[:16]
    if "{key_id}" in path:
        await callers.pool.execute(
            "INSERT INTO api_keys (key_id, key_hash, name, scopes, expires_at) "
            "VALUES ($1, sha256($1::text::bytea), 'k', '{}', now() + interval '1 day')",
            key_id,
        )
    if path.endswith("/merge"):
        # Somebody who joined by code, to be merged with the student.
        await memberships.upsert_many(callers.pool, "c1", {callers.ids["second"]: "student"}, source=Source.JOIN)
    elif "{person_id}" in path:
        await memberships.upsert_many(callers.pool, "c1", {callers.ids["second"]: "student"})
    if "{request_id}" in path:
        await callers.pool.execute("UPDATE help_requests SET status = 'open', claimed_by = NULL")
    url = path
    for name, value in {
        "course_id": "c1",
        "student_id": str(callers.ids["student"]),
        "person_id": str(callers.ids["second"]),
        "request_id": callers.help_id,
        "test_id": "t1",
        "key_id": key_id,
        "name": callers.wheel,
    }.items():
        url = url.replace(f"{{{name}}}", value)
    assert "{" not in url, f"no value for the parameters of {path}"
    if path.endswith("/activity"):
        url += "?start=2026-04-01T09:00:00Z&stop=2026-04-01T10:00:00Z&every=60"
    link_of_group = {"issuer": "jupyterhub", "group": "physics & staff", "role": "observer"}
    if route == ("DELETE", "/api/v1/courses/{course_id}/group-links"):
        await course_links.add(callers.pool, CourseLink(**link_of_group, course_id="c1"))
        url += f"?{urlencode(link_of_group)}"
    if path.endswith("/auth/join"):
        callers.code = (await join_codes.open_new(callers.pool, callers.index, "c1", timedelta(minutes=1))).code
    link = await sign_in_links.create(callers.pool, callers.ids["second"], timedelta(minutes=1))
    bodies: Mapping[Route, dict[str, Any]] = {
        ("POST", "/api/v1/auth/link"): {"link": link},
        ("POST", "/api/v1/auth/login"): {"username": "second", "password": PASSWORD},
        ("POST", "/api/v1/auth/password"): {"present": PASSWORD, "new": PASSWORD},
        ("POST", "/api/v1/auth/token"): {"audience": "ingest"},
        ("POST", "/api/v1/courses"): {"course_id": f"c-{uuid4()}", "title": "New"},
        ("PUT", "/api/v1/courses/{course_id}/members"): {"members": [{"username": "new", "role": "student"}]},
        ("PATCH", "/api/v1/courses/{course_id}/settings"): {"title": "Course 1", "thresholds": {"idle_s": 600}},
        ("POST", "/api/v1/courses/{course_id}/group-links"): link_of_group,
        ("POST", "/api/v1/auth/join"): {"code": callers.code, "name": "New", "secret": token_urlsafe(32)},
        ("POST", "/api/v1/courses/{course_id}/join-code"): {"minutes": 5},
        ("POST", "/api/v1/courses/{course_id}/members/{person_id}/merge"): {"into": str(callers.ids["student"])},
        ("POST", "/api/v1/api-keys"): {"name": "k", "scopes": ["courses:read"]},
        ("POST", "/api/v1/failed-events/replay"): {},
        ("POST", "/api/v1/events"): {"events": [event]},
        ("POST", "/api/v1/test/events/{test_id}"): {"events": [event]},
    }
    return url, {"json": bodies[route]} if route in bodies else {}


REFUSALS = {
    401: {"not_authenticated", "token_expired", "invalid_api_key"},
    403: {"permission_denied", "insufficient_scope", "course_forbidden"},
    404: {"not_found"},
}


async def test_who_may_use_each_route(callers: Callers, make_event: Callable[..., dict[str, Any]]) -> None:
    wrong = []
    for route, outcomes in EXPECTED.items():
        for identity, expected in outcomes.items():
            url, options = await _prepare(callers, route, make_event(course="c1"))
            headers = callers.headers(identity, route)
            answer = await callers.client.request(route[0], url, headers=headers, **options)
            callers.client.cookies.clear()
            if route == ("POST", "/api/v1/auth/password") and answer.status_code == 200:
                # A change gives this browser another cookie.
                callers.cookies[identity] = answer.headers["set-cookie"].partition(";")[0]
            outcome = "ok" if 200 <= answer.status_code < 300 else str(answer.status_code)
            if outcome != expected:
                wrong.append(f"{' '.join(route)}: {identity}: {outcome}, not {expected}: {answer.text[:200]}")
            elif outcome != "ok":
                assert answer.json()["detail"][0]["type"] in REFUSALS[answer.status_code], answer.text
    assert not wrong, "\n".join(wrong)


async def test_a_course_that_is_not_there_looks_like_one_of_others(
    callers: Callers, make_event: Callable[..., dict[str, Any]]
) -> None:
    for route in EXPECTED:
        if "{course_id}" not in route[1]:
            continue
        url, options = await _prepare(callers, route, make_event(course="c1"))
        missing, foreign, by_admin = [
            await callers.client.request(
                route[0], url.replace("/c1/", f"/{course}/"), headers=callers.headers(identity, route), **options
            )
            for identity, course in (("outsider", "c9"), ("outsider", "c1"), ("admin", "c9"))
        ]
        assert missing.status_code == foreign.status_code == by_admin.status_code == 404
        assert missing.content == foreign.content


async def test_a_removed_assistant_loses_access_within_seconds(site: Any) -> None:
    await site.course("c1", ann="assistant")
    headers = site.bearer("ann")
    now = 0.0
    site.process.access._clock = lambda: now
    url = "/api/v1/courses/c1/state"
    assert (await site.client.get(url, headers=headers)).status_code == 200
    await memberships.remove(site.process.pool, "c1", site.ids["ann"])
    now += 5.1
    assert (await site.client.get(url, headers=headers)).status_code == 404


async def test_test_mode_is_off_unless_allowed(site: Any) -> None:
    await site.course("c1", ann="student")
    for method in ("POST", "GET"):
        for headers in (site.sender("ann"), {}):
            answer = await site.client.request(method, "/api/v1/test/events/t1", headers=headers)
            assert answer.status_code == 404
            assert answer.json()["detail"][0]["type"] == "not_found"
