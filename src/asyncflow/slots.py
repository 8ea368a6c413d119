"""The cores and devices of one worker, and who holds them."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def visible_devices(count: int, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of `count` GPUs: those in ``CUDA_VISIBLE_DEVICES``, else 0, 1, …"""
    named = [name.strip() for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(index) for index in range(count)]


class Slots:
    """Hands out the cores and devices of one worker, first come, first served.

    Dask places by abstract resources; this holds the promise even for calls that were sent before anybody asked for
    more than one core, and says which devices a task has.
    """

    def __init__(self, cores: int, devices: int = 0) -> None:
        self.cores = cores
        self._free_cores = cores
        self._devices = devices
        self._free_devices = visible_devices(devices)
        self._turn = threading.Condition()
        self._tickets = 0
        self._serving = 0

    def is_share(self, devices: list[str]) -> bool:
        """Whether somebody else may hold devices of this worker beside `devices`."""
        return 0 < len(devices) < self._devices

    @contextmanager
    def hold(self, cores: int = 1, devices: int = 0) -> Iterator[list[str]]:
        """Wait for `cores` and `devices`, hold them, and yield the devices' names."""
        cores = min(cores, self.cores)
        names = self._take(cores, devices)
        try:
            yield names
        finally:
            with self._turn:
                self._free_cores += cores
                self._free_devices = sorted(self._free_devices + names)
                self._turn.notify_all()

    def _take(self, cores: int, devices: int) -> list[str]:
        with self._turn:
            ticket = self._tickets
            self._tickets += 1
            # In order of arrival, or a call for many cores would wait for ever behind calls for one.
            self._turn.wait_for(
                lambda: ticket == self._serving and cores <= self._free_cores and devices <= len(self._free_devices)
            )
            self._serving += 1
            self._free_cores -= cores
            names, self._free_devices = self._free_devices[:devices], self._free_devices[devices:]
            self._turn.notify_all()
            return names
