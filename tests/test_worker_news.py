"""What workers write into their logs goes through a filter of ours, which must never be in the way."""

import logging

from distributed.comm import CommClosedError

from asyncflow.backends.dask.remote import _is_news


def _record(message, *args, error=None):
    told = (type(error), error, None) if error is not None else None
    return logging.LogRecord("distributed.worker", logging.ERROR, __file__, 1, message, args, told)


def test_an_exception_as_message_passes():
    """Dask logs exceptions as messages; a filter that raised there broke a transfer off, and a run hung."""
    assert _is_news(_record(ValueError("IOStream is not idle; cannot convert to SSL")))


def test_a_line_that_cannot_be_put_together_passes():
    """Handlers tell of it; raised out of the filter it would end whatever logged."""
    assert _is_news(_record("%s and %s", "one"))


def test_only_the_line_about_a_task_that_raised_is_dropped():
    """Other lines pass, whatever they tell of."""
    assert not _is_news(_record("Compute Failed\nKey: %s\nException: %r\n", "a-1", "RemoteFailure"))
    assert _is_news(_record("Compute Failed\nKey: %s\nException: %r\n", "a-1", "ValueError"))


def test_the_last_heartbeat_of_a_worker_that_ends_is_not_told():
    """The scheduler closed the connection, and the worker ends for it; a scheduler out of reach is told."""
    text = "Failed to communicate with scheduler during heartbeat."
    closed, unreachable = CommClosedError("Stream is closed"), OSError("Timed out")
    assert not _is_news(_record(text, error=closed))
    assert _is_news(_record(text, error=unreachable))
    assert _is_news(_record("Connection lost", error=closed))
