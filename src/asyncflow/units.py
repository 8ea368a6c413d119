"""Durations and sizes as people write them: ``10m``, ``"02:00:00"``, ``120GB``."""

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)


def seconds(value: object) -> float:
    """A duration in seconds.

    Parameters
    ----------
    value : int, float or str
        Seconds, or text like ``90s``, ``10m``, ``1h30m``, ``"02:00:00"`` (hours first), ``1-12:00:00`` (days first).

    Raises
    ------
    ValueError
        With the ways to write it.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, secs = (int(part or 0) for part in clock.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + secs)
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text.replace(" ", ""):
        if unknown := [unit for _, unit in parts if unit not in _SECONDS]:
            raise ValueError(f"{value!r} has the unknown unit {unknown[0]!r}; write ms, s, m, h or d")
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    raise ValueError(f'{value!r} is not a duration; write seconds, 90s, 10m, 1h30m or "02:00:00"')


def size(value: object) -> int:
    """A size in bytes: a whole number, or text like ``120GB`` (powers of 1000) and ``4GiB`` (powers of 1024).

    Raises
    ------
    ValueError
        With the ways to write it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write bytes, 512MB, 120GB or 4GiB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" kmgtp".index(prefix.lower() or " ")))


def clock(seconds: float, *, days: bool = True) -> str:
    """`seconds`, rounded up, as batch systems write them: ``02:00:00``, with `days` ``1-12:00:00``."""
    minutes, secs = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    day, hours = divmod(hours, 24) if days else (0, hours)
    return (f"{day}-" if day else "") + f"{hours:02d}:{minutes:02d}:{secs:02d}"


def show_size(count: float) -> str:
    """`count` bytes for people: ``64 kB``, ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"
