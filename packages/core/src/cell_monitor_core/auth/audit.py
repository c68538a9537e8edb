"""What the audit log records (docs/adr/0028): the acts, and who does them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from cell_monitor_core.auth.tokens import Claims

__all__ = ["HUB", "NOBODY", "OPERATOR", "SYSTEM", "Actor", "ActorKind", "AuditAction"]


class AuditAction(StrEnum):
    """An act that the audit log records."""

    SIGNED_IN = "signed_in"
    """Somebody signed in; `way` says how."""
    SIGN_IN_REFUSED = "sign_in_refused"
    """A sign-in was refused, or a wrong present password at a change of it; `count` says how often on this account from this address within 15 minutes. `way` says how it was tried, and tells a link that was used (`link_used`), ended before its use (`link_ended`), out of date (`link_expired`) or unknown (`link`)."""
    SIGNED_OUT_EVERYWHERE = "signed_out_everywhere"
    """All sign-ins and unused links of a person were ended."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an act
    """Somebody set or changed their own password; their other sign-ins and their unused links ended."""
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an act
    """An operator deleted the password of a person, or replaced the one in the installation's secrets; their sign-ins and unused links ended."""
    SIGN_IN_LINK_CREATED = "sign_in_link_created"
    """An operator made a link that signs a person in once."""
    SIGN_IN_LINK_ENDED = "sign_in_link_ended"
    """A link was ended before anybody used it; `cause` is the act that ended it, where that is known. A link that was used has `signed_in` with the way `link`; one that nobody used in time has no entry."""
    COURSE_CREATED = "course_created"
    """A course was added."""
    COURSE_RENAMED = "course_renamed"
    """A course got another title; `from` and `to` are the titles."""
    THRESHOLDS_CHANGED = "thresholds_changed"
    """A course's thresholds were changed; `from` and `to` hold those that differ."""
    RULING_SOURCE_CHANGED = "ruling_source_changed"
    """Another source of memberships rules in a course, which gives and ends roles; no `from` or `to`: none rules."""
    GROUP_LINKED = "group_linked"
    """The members of a `group` of an `issuer` get the role `to` in a course."""
    GROUP_UNLINKED = "group_unlinked"
    """The members of a `group` of an `issuer` get the role `from` in a course no longer."""
    COURSE_DELETED = "course_deleted"
    """A course was deleted with its data, earlier entries of this log included."""
    MEMBER_ADDED = "member_added"
    """A source made somebody a member of a course; `to` is the role."""
    ROLE_CHANGED = "role_changed"
    """A source gave a member another role."""
    MEMBER_REMOVED = "member_removed"
    """A source removed somebody from a course; `from` is the role that ended."""
    JOINING_OPENED = "joining_opened"
    """A course got a new join code; `minutes` says for how long it lets people in."""
    JOINING_CLOSED = "joining_closed"
    """A course's join code was ended; who had joined stayed."""
    JOINED_MERGED = "joined_merged"
    """The computers of somebody who joined by code send as the student named from now on."""
    SITE_ADMIN_GRANTED = "site_admin_granted"
    """Somebody became an admin of the whole site."""
    SITE_ADMIN_REVOKED = "site_admin_revoked"
    """Somebody is no longer an admin of the whole site."""
    API_KEY_CREATED = "api_key_created"
    """An API key was made."""
    API_KEY_REVOKED = "api_key_revoked"
    """An API key was revoked."""
    API_KEY_USED = "api_key_used"
    """An API key was exchanged for an access token: the first time on a day (UTC)."""
    ENCRYPTION_KEY_ROTATED = "encryption_key_rotated"
    """An operator began to encrypt all personal data with the newest key."""
    SIGNING_KEY_ROTATED = "signing_key_rotated"
    """An operator let access tokens be signed with a new key."""
    WORK_OPENED = "work_opened"
    """Somebody opened the cells or runs of a student; of the same two once in each ten minutes of the clock."""
    FAILED_EVENTS_REPLAYED = "failed_events_replayed"
    """Failed events were queued again; `queued` says how many. A large replay has an entry for each of its steps."""
    PERSON_ERASED = "person_erased"
    """A person was erased. The entry does not say whom."""


class ActorKind(StrEnum):
    """Who did it."""

    PERSON = "person"
    """Somebody who signed in, or whose API key was used."""
    KEY = "key"
    """An API key that belongs to nobody."""
    OPERATOR = "operator"
    """A command of `cell-monitor`, run by who operates this installation."""
    HUB = "hub"
    """A JupyterHub, by its groups and admins."""
    OIDC = "oidc"
    """An OpenID Connect provider, by its groups."""
    SYSTEM = "system"
    """Cell Monitor itself."""
    NOBODY = "nobody"
    """Somebody who did not prove who they are."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes:
        kind: what the other two mean.
        person_id: of a person.
        key_id: the API key that they used.
    """

    kind: ActorKind
    person_id: UUID | None = None
    key_id: str | None = None

    @classmethod
    def person(cls, person_id: UUID) -> Self:
        """Return a person who signed in."""
        return cls(ActorKind.PERSON, person_id)

    @classmethod
    def of(cls, claims: Claims) -> Self:
        """Return the holder of an access token."""
        scheme, _, name = claims.cred.partition(":")
        key_id = name if scheme == "key" else None
        if claims.is_service:
            return cls(ActorKind.KEY, None, key_id)
        return cls(ActorKind.PERSON, claims.person_id, key_id)

    @property
    def columns(self) -> tuple[str, UUID | None, str | None]:
        """The values of ``actor_kind``, ``actor_id`` and ``actor_key_id``."""
        return self.kind.value, self.person_id, self.key_id


OPERATOR: Final = Actor(ActorKind.OPERATOR)
HUB: Final = Actor(ActorKind.HUB)
SYSTEM: Final = Actor(ActorKind.SYSTEM)
NOBODY: Final = Actor(ActorKind.NOBODY)
