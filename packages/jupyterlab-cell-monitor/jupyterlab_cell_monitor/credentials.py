"""What proves to the monitor whose events these are: an API key, or what JupyterHub gave this server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from .tokens import Credential, CredentialUnreadable

__all__ = ["configured_credentials"]

_SERVER_TOKEN_VARIABLE: Final = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - the name of a variable
_SERVER_NAME_VARIABLE: Final = "JUPYTERHUB_SERVER_NAME"


def configured_credentials(
    api_key: str, api_key_file: str, hub_token: str, environment: Mapping[str, str]
) -> Callable[[], Sequence[Credential]] | None:
    """Return what reads the credentials, or None where there are none.

    An API key counts, if there is one. Otherwise the token that JupyterHub made for sending comes first, and the
    server's own token after it: that one allows more, so it is sent only where the first is refused.

    Args:
        api_key: the key itself.
        api_key_file: file that holds the key; it is read each time.
        hub_token: that JupyterHub made for sending; empty where it makes none.
        environment: the process's environment variables.
    """
    if api_key_file:
        path = Path(api_key_file).expanduser()
        return lambda: [Credential("ApiKey", _read(path), "the API key")]
    if api_key:
        return lambda: [Credential("ApiKey", api_key, "the API key")]
    server = environment.get(_SERVER_NAME_VARIABLE, "")
    tokens = [hub_token, environment.get(_SERVER_TOKEN_VARIABLE, "")]
    hub = [Credential("JupyterHub", token, "JupyterHub's token", server) for token in tokens if token]
    return (lambda: hub) if hub else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise CredentialUnreadable(f"the API key file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CredentialUnreadable("the API key file cannot be read: it is no UTF-8 text") from None
