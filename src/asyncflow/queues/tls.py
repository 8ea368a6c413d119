"""Certificates made for one run: one authority, in memory, known to the engine's own processes only."""

from typing import Any

from distributed import Security

_FIELDS = (
    "tls_ca_file",
    "tls_client_cert",
    "tls_client_key",
    "tls_scheduler_cert",
    "tls_scheduler_key",
    "tls_worker_cert",
    "tls_worker_key",
)


def make_security() -> Security:
    """A fresh authority and certificate; whoever has not got them from us is refused."""
    return Security.temporary()


def as_plain(security: Security) -> dict[str, Any]:
    """`security` as data for a worker program; to be sent through a pipe, never on a command line or to disk."""
    return {"require_encryption": True, **{name: getattr(security, name) for name in _FIELDS}}
