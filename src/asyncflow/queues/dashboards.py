"""Where a dashboard listens, and how to reach it from elsewhere."""

import getpass
import socket
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator

#: Where what nobody asked to see listens: this machine only; Dask's default is every interface.
LOCAL = "127.0.0.1:0"


def _dashboard_address(value: object) -> object:
    """``host:port``; a port alone listens on 127.0.0.1, where LocalCluster would open it to the network."""
    if value is None:
        return None
    host, _, port = str(value).strip().rpartition(":")
    if isinstance(value, bool) or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{value!r} is not an address to listen on; write ':8787', '0.0.0.0:8787' (everybody) or null")
    return f"{host or '127.0.0.1'}:{port}"


DashboardAddress = Annotated[str | None, BeforeValidator(_dashboard_address)]


def tunnel(link: str) -> str:
    """The command that brings the dashboard at `link`, which listens on this machine only, to the user's own."""
    port = urlsplit(link).port
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.getfqdn()}"
