"""The memory of this process, or of another by its id, in bytes, as the kernel counts it."""

from pathlib import Path


def now(process="self"):
    return _status("VmRSS", process)


def peak():
    """Return the largest resident size since the start or the last `reset_peak`."""
    return _status("VmHWM")


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def _status(field, process="self"):
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)
