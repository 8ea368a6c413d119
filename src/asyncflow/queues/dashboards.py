"""Where a dashboard listens, and how to reach it from elsewhere."""

import getpass
import logging
import socket
from typing import Annotated

from pydantic import BeforeValidator

logger = logging.getLogger("asyncflow")

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


def link_to(host: str, port: int) -> str:
    """The address of the dashboard at `port` of `host`, as Dask's ``distributed.dashboard.link`` has it.

    That may be a way through a proxy, with variables of the environment in braces, as JupyterHubs set it:
    ``{JUPYTERHUB_SERVICE_PREFIX}/proxy/{port}/status``.
    """
    from distributed.utils import format_dashboard_link

    try:
        return str(format_dashboard_link(host, port))
    except (KeyError, IndexError, ValueError) as error:
        plain = f"http://{host}:{port}/status"
        logger.warning(
            "distributed.dashboard.link cannot be filled in (%s: %s), so the dashboard is at %s; set the variable, or "
            "change the link in Dask's configuration",
            type(error).__name__,
            error,
            plain,
        )
        return plain


def tunnel(port: int) -> str:
    """The command that brings the dashboard at `port`, which listens on this machine only, to the user's own."""
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.getfqdn()}"
