"""Parsl on two threads, with `def` bodies."""

from parsl import ThreadPoolExecutor

from contestants import _parsl


def opened():
    return _parsl.opened(ThreadPoolExecutor(max_threads=2))
