"""A small program that ends the commands of a worker when the worker itself is killed.

It reads ``+PGID`` and ``-PGID`` lines. At a line ``.``, or when its input closes because the worker has gone however it
went, it sends TERM and then KILL to the process groups that are left. Run by path, so that it imports the standard
library only.
"""

import os
import signal
import sys
import time


def send(groups: set[int], number: int) -> set[int]:
    """Signal every group; those that still exist."""
    alive = set()
    for group in groups:
        try:
            os.killpg(group, number)
        except OSError:
            continue
        alive.add(group)
    return alive


def main() -> None:
    """Keep the list, then end what is on it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the worker; the end of input is what counts here
    groups: set[int] = set()
    for line in sys.stdin:
        if line[0] == ".":
            break
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    groups = send(groups, signal.SIGTERM)
    deadline = time.monotonic() + 2.0
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = send(groups, 0)
    send(groups, signal.SIGKILL)


if __name__ == "__main__":
    main()
