"""The task bodies, written with `def`; workers import them by name."""

import threading
import time

import numpy as np

GATE = threading.Event()


def gate():
    GATE.wait()
    return 0


def noop():
    return None


def step(number=0):
    return number + 1


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def nap(number):
    time.sleep(0.01)
    return number


def work(number):
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass
    return number


def zero():
    return 0


def one():
    return 1


def add(left, right):
    return left + right


def make(size):
    return np.ones(size, dtype=np.uint8)  # ones, not zeros: the pages must really be written


def hand(array):
    return array


def weigh(array):
    return array.nbytes
