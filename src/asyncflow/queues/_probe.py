"""The program of a probe job: what a node has and sees, and whether it can call the driver.

`asyncflow.queues.probing` puts this text into the job script and calls `main` at its end, so that it runs where nothing
of asyncflow can be seen. Standard library only, and no newer than Python 3.7: it is for finding wrong Pythons, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import importlib
import json
import os
import platform
import socket
import struct
import sys
import threading
import time
from typing import Any

#: Distributions that must understand each other on both ends.
PACKAGES = ("asyncflow", "cloudpickle", "dask", "distributed", "msgpack", "numpy", "tblib", "tornado")

#: Seconds that the driver has to answer at one of its addresses.
PATIENCE = 5.0

_SIOCGIFADDR = 0x8915


def interfaces() -> dict[str, str]:
    """The IPv4 address of each network interface that has one, loopback last."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asker, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has none
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return dict(sorted(found.items(), key=lambda each: each[1].startswith("127.")))


def versions() -> dict[str, str]:
    """The installed versions of `PACKAGES`, of those that are there."""
    found: dict[str, str] = {}
    try:
        metadata = importlib.import_module("importlib.metadata")
    except ImportError:  # Python 3.7
        return found
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def sign(key: str, who: str, greeting: bytes) -> bytes:
    """What shows that `who` knows `key`, for this greeting only."""
    return hmac.new(key.encode(), who.encode() + greeting.strip(), hashlib.sha256).hexdigest().encode()


def facts(spec: dict[str, Any]) -> dict[str, Any]:
    """What can be told without the driver."""
    sees, why = look(spec["directory"], spec["nonce"])
    return {
        "pool": spec["pool"],
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "has_python": os.access(spec["python"], os.X_OK),
        "packages": versions(),
        "interfaces": interfaces(),
        "sees": sees,
        "why": why,
        "shared": [path for path, inode in spec["candidates"].items() if is_same(path, inode)],
    }


def look(directory: str, nonce: str) -> tuple[bool, str]:
    """Whether `directory` is the driver's, and can be written; else why not."""
    try:
        with open(os.path.join(directory, "nonce"), encoding="ascii") as file:  # noqa: PTH118, PTH123
            if file.read() != nonce:
                return False, "another directory of that name is there"
        with open(os.path.join(directory, "trial"), "a", encoding="ascii"):  # noqa: PTH118, PTH123
            pass
    except OSError as error:
        return False, str(error)
    return True, ""


def is_same(path: str, inode: int) -> bool:
    """Whether `path` is the directory that the driver knows by that number, and can be written."""
    try:
        return os.stat(path).st_ino == inode and os.access(path, os.W_OK)  # noqa: PTH116
    except OSError:
        return False


def call(spec: dict[str, Any], host: str, port: int) -> socket.socket:
    """A connection to the driver, which has shown that it is the driver."""
    connection = socket.create_connection((host, port), PATIENCE)
    try:
        with connection.makefile("rb") as answers:
            greeting = answers.readline(200)
            connection.sendall(sign(spec["key"], "probe", greeting) + b"\n")
            answer = answers.readline(200).strip()
        if not hmac.compare_digest(answer, sign(spec["key"], "driver", greeting)):
            raise OSError("something else listens there")
    except BaseException:
        connection.close()
        raise
    return connection


def call_back(spec: dict[str, Any]) -> tuple[dict[str, str], list[socket.socket]]:
    """What is wrong with each of the driver's addresses (nothing is the empty text), and the connections that stand."""
    said: dict[str, str] = {}
    standing: dict[str, socket.socket] = {}

    def attempt(host: str) -> None:
        try:
            standing[host] = call(spec, host, spec["port"])
            said[host] = ""
        except (OSError, ValueError) as error:
            said[host] = str(error) or type(error).__name__

    threads = [threading.Thread(target=attempt, args=(host,)) for host in spec["hosts"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said, [standing[host] for host in spec["hosts"] if host in standing]


def main(spec: dict[str, Any]) -> None:
    """Look, call, and tell in both ways: through the shared directory and over the network."""
    begin = time.monotonic()
    report = facts(spec)
    report["back"], connections = call_back(spec)
    report["took"] = time.monotonic() - begin
    text = json.dumps(report)
    if report["sees"]:
        place = os.path.join(spec["directory"], spec["pool"] + ".json")  # noqa: PTH118
        with open(place + ".new", "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
        os.replace(place + ".new", place)  # noqa: PTH105
    for connection in connections[:1]:
        connection.sendall(text.encode() + b"\n")
    for connection in connections:
        connection.close()
