"""What workers write into their logs goes through a filter of ours, which must never be in the way."""

import logging

from asyncflow.backends.dask.remote import _is_news


def _record(message, *args):
    return logging.LogRecord("distributed.worker", logging.ERROR, __file__, 1, message, args, None)


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
