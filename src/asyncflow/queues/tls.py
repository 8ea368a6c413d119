"""Certificates made for one run: one authority, in memory, known to the engine's own processes only."""

import warnings
from typing import Any

from distributed import Security

from asyncflow.queues.run import RunDirectory

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


def secure(kind: str, run: RunDirectory, *, is_wanted: bool) -> tuple[Security | None, dict[str, str]]:
    """What the scheduler of `run` takes, and where its workers find theirs; neither, and a warning, if unwanted."""
    if is_wanted:
        security = make_security()
        return security, run.certify(security)
    warnings.warn(
        f"security: none: whoever reaches the {kind} cluster's scheduler or workers can run code as you; drop that "
        "line to have certificates made for each run",
        stacklevel=2,
    )
    return None, {}


def as_plain(security: Security) -> dict[str, Any]:
    """`security` as data for a worker program; to be sent through a pipe, never on a command line or to disk."""
    return {"require_encryption": True, **{name: getattr(security, name) for name in _FIELDS}}
