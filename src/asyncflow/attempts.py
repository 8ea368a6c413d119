"""Whether a failed body is tried again, and when."""

import logging
from random import Random
from typing import Protocol

from asyncflow.failures import told
from asyncflow.options import RetryOn

logger = logging.getLogger("asyncflow")

#: Seconds that no delay exceeds, unless the first one was asked to be longer.
LONGEST_DELAY = 3600.0


class BackOff(Protocol):
    """What options, and recipes made of them, say of delays."""

    @property
    def retry_delay(self) -> float: ...

    @property
    def retry_backoff(self) -> float: ...


def delay_before(failed: int, options: BackOff, random: Random) -> float:
    """Seconds to wait before the attempt after `failed` failed ones; calls that failed together come back apart."""
    if options.retry_delay == 0:
        return 0.0
    longest = max(LONGEST_DELAY, options.retry_delay)
    try:
        delay = options.retry_delay * options.retry_backoff ** (failed - 1)
    except OverflowError:
        return longest
    return min(longest, delay * random.uniform(0.75, 1.25))


def worth_another(error: BaseException, retry_on: RetryOn | None) -> bool:
    """Whether `error` is of those that another attempt is made for.

    Where the user's function fails that decides it, none is made; the error is told so, and stays the one that counts.
    """
    if not isinstance(error, Exception):
        return False
    if retry_on is None:
        return True
    if isinstance(retry_on, (type, tuple)):
        return isinstance(error, retry_on)
    try:
        return bool(retry_on(error))
    except Exception as broken:
        text = f"no other attempt was made: retry_on itself raised {told(broken)}"
        error.add_note(text)
        logger.warning("%s; the error of the task: %s", text, told(error))
        return False
