"""A certificate of this machine, which signs itself, for servers and proxies of the tests."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Certificate"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of 127.0.0.1 and its key, as files.

    Attributes:
        certificate: what clients trust.
        key: its private key, mode 0600.
        both: the two in one file, mode 0600.
    """

    certificate: Path
    key: Path
    both: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        """Make one in a folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        # A name of its own: of several in one bundle, OpenSSL looks up the one that signed by its name.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(8))])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        ).public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = cls(folder / "certificate.pem", folder / "key.pem", folder / "both.pem")
        for path, text in ((made.certificate, certificate), (made.key, secret), (made.both, certificate + secret)):
            path.write_bytes(text)
            path.chmod(0o644 if path == made.certificate else 0o600)
        return made
