"""A Dask scheduler that runs already, joined by its address and left running."""

import json
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from asyncflow.queues.pools import Pool
from asyncflow.queues.settings import ClusterSettings
from asyncflow.queues.target import Cluster, Joined, Target


def _existing_file(value: str, info: ValidationInfo) -> str:
    """The absolute path of a file that is there; relative to the configuration that names it, if a file does."""
    base = (info.context or {}).get("directory", "")
    path = Path(base, value).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"{value!r} is not a file ({path}); relative paths begin where the configuration lies")
    return str(path)


def _text_of_path(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


ExistingFile = Annotated[str, BeforeValidator(_text_of_path), AfterValidator(_existing_file)]


class Config(ClusterSettings):
    """Keys of ``kind: address``; certificates are named as `distributed.Security` names them.

    Paths are relative to the configuration file. What is joined is never closed.
    """

    address: str | None = None
    """Where the scheduler listens, ``tls://host:8786``; either this or ``scheduler_file``."""

    scheduler_file: ExistingFile | None = Field(default=None, validate_default=True)
    """The file that ``dask scheduler --scheduler-file`` wrote; either this or ``address``."""

    tls_ca_file: ExistingFile | None = Field(default=None, validate_default=True)
    """The authority that signed the scheduler's certificate (PEM); needed with ``security: tls``."""

    tls_client_cert: ExistingFile | None = Field(default=None, validate_default=True)
    """Our own certificate (PEM); needed with ``security: tls``."""

    tls_client_key: ExistingFile | None = Field(default=None, validate_default=True)
    """The private key of our certificate (PEM); needed with ``security: tls``."""

    # Field by field rather than once for the whole model: pydantic leaves the latter out as soon as one field is
    # wrong, and every problem of a file is to be told at once. What went wrong before is not in info.data.

    @field_validator("address")
    @classmethod
    def _reachable(cls, address: str | None, info: ValidationInfo) -> str | None:
        if address is not None:
            _check_address(address, info.data.get("security"))
        return address

    @field_validator("scheduler_file")
    @classmethod
    def _one_way(cls, path: str | None, info: ValidationInfo) -> str | None:
        if "address" not in info.data:
            return path
        address = info.data["address"]
        if path is None and address is None:
            raise ValueError("is missing; give either address: tls://host:8786 or scheduler_file:")
        if path is not None and address is not None:
            raise ValueError(f"is given beside address {address!r}; give one of them")
        if path is not None:
            _check_address(_address_in(path), info.data.get("security"))
        return path

    @field_validator("tls_ca_file", "tls_client_cert", "tls_client_key")
    @classmethod
    def _goes_with_security(cls, path: str | None, info: ValidationInfo) -> str | None:
        security = info.data.get("security")
        if path is None and security == "tls" and "address" in info.data:
            raise ValueError("is missing; security: tls needs tls_ca_file, tls_client_cert and tls_client_key")
        if path is not None and security == "none":
            raise ValueError("is given although security is none; leave it out, or write security: tls")
        return path


def pools(config: Config) -> list[Pool]:
    """None are declared: what the scheduler's workers can do is its owner's to know."""
    del config
    return []


async def open_cluster(config: Config) -> Cluster:
    """Name the scheduler; whether it answers shows when the client connects."""
    from distributed import Security

    address = config.address or _address_in(str(config.scheduler_file))
    security = None
    if config.security == "tls":
        security = Security(
            require_encryption=True,
            tls_ca_file=config.tls_ca_file,
            tls_client_cert=config.tls_client_cert,
            tls_client_key=config.tls_client_key,
        )
    return Joined(Target(address, security, timeout=config.start_timeout))


def _check_address(address: str, security: Any) -> None:
    """Refuse what is no address of a scheduler, and one whose scheme does not go with `security`."""
    parts = urlsplit(address)
    try:
        complete = parts.scheme in {"tls", "tcp"} and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is no number, or too large
        complete = False
    if not complete:
        raise ValueError(f"{address!r} is not the address of a scheduler; write tls://host:8786")
    if parts.scheme == "tcp" and security == "tls":
        raise ValueError(f"{address!r} is not encrypted; give a tls:// address, or say security: none by name")
    if parts.scheme == "tls" and security == "none":
        raise ValueError(f"{address!r} is encrypted although security is none; write security: tls and its three files")


def _address_in(scheduler_file: str) -> str:
    try:
        return str(json.loads(Path(scheduler_file).read_text(encoding="utf-8"))["address"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{scheduler_file!r} holds no address; it is not what dask scheduler writes") from None
