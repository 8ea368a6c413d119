"""What the steps do on workers. Each body may be run twice: all it does is to append lines to one file."""

import asyncio
import errno
import functools
import os
import sys
import tempfile
import time
from typing import NamedTuple

from distributed import get_worker

from asyncflow import CommandError
from chaos.dag import Deed, Kind
from gates import Notes

#: Seconds that a function takes which is LATE: a thread cannot be stopped. Others take as long as they are let.
_LATE = 2.0

_SCRATCH = 1 << 16  # bytes that a body WRITES
_FULL, _FLAKY = 28, 29  # statuses of a command that cannot write its output, and of a FLAKY one


class Diverged(ValueError):
    """What a body raises."""

    def __init__(self, number):
        super().__init__(f"step {number} diverged")
        self.number = number


class Order(NamedTuple):
    """What a body needs to know: the step's own, the file of the records, and how much memory is too much."""

    number: int
    kind: Kind
    deed: Deed
    pause: float
    times: int
    code: int
    notes: str
    gluttony: int

    def note(self, what):
        """Append ``what number worker``."""
        worker = _parent() if self.kind is Kind.ISOLATED else os.getpid()
        Notes(self.notes).add(f"{what} {self.number} {worker}")

    def noted(self, what):
        """How often that was noted, wherever."""
        return sum(line.startswith(f"{what} {self.number} ") for line in Notes(self.notes).lines)


@functools.cache
def _parent():
    return os.getppid()  # at first; an orphan is given another


def mix(number, values):
    """The value of a step: no other number and no other order of values gives it, but by accident."""
    total = number * 7919 + 1
    for value in values:
        total = (total * 31 + int(value)) % 1_000_003
    return total


def is_passing(error):
    """Whether another attempt may end otherwise: room may be made on a disk, and FLAKY steps end well at last."""
    if isinstance(error, CommandError):
        return error.returncode in {_FULL, _FLAKY}
    return isinstance(error, Diverged) or is_full(error)


def is_full(error):
    """Whether it was for want of disk."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def function(order, *values):
    """A body in a thread of a worker, or in a process of its own."""
    order.note("begin")
    time.sleep(order.pause)
    if order.deed is Deed.LATE:
        time.sleep(_LATE if order.kind is Kind.FUNCTION else 60)
    _act(order)
    value = mix(order.number, values)
    order.note("end")
    return value


async def coroutine(order, *values):
    """A body on a loop of its own."""
    order.note("begin")
    await asyncio.sleep(order.pause)
    if order.deed is Deed.LATE:
        await asyncio.sleep(60)
    _act(order)
    value = mix(order.number, values)
    order.note("end")
    return value


def tick(number, *before):
    """A moment: the sum of the numbers so far, and whether this ran in one Dask task with others, as its key tells."""
    if number < 0:
        raise Diverged(number)
    key = str(get_worker().get_current_task())
    return sum(value for value, _ in before) + number, "x" in key.rpartition("-")[2]


def _act(order):
    if order.deed is Deed.WRITES:
        _write(order, _SCRATCH)
    elif order.deed is Deed.FILLS:
        _write(order, 1 << 28)
    elif order.deed is Deed.RAISES:
        raise Diverged(order.number)
    elif order.deed is Deed.FLAKY and order.noted("raise") < order.times:
        order.note("raise")
        raise Diverged(order.number)
    elif order.deed is Deed.EXITS:
        sys.exit(order.code)
    elif order.deed in {Deed.FATAL, Deed.DIES} or (order.deed is Deed.CRASHES and not order.noted("crash")):
        order.note("crash")
        os._exit(order.code)
    elif order.deed in {Deed.EATS, Deed.EATS_ALL}:
        _eat(order.gluttony)


def _write(order, size):
    # Without a name: it is gone with the process, however that ends. In the directory that was given: where that is full
    # when a process first asks, tempfile takes another one for good.
    with tempfile.TemporaryFile(buffering=0, dir=os.environ["TMPDIR"]) as file:
        try:
            for _ in range(0, size, _SCRATCH):
                file.write(bytes(_SCRATCH))
        except OSError:
            order.note("full")
            raise


def _eat(size):
    """Take memory, in pieces, and keep it until somebody ends this."""
    pieces = []
    for _ in range(0, size, 1 << 23):
        pieces.append(b"x" * (1 << 23))
        time.sleep(0.005)  # a nanny looks ten times a second
    time.sleep(60)


def command(order, *values):
    """The same as a command."""
    words = (order.notes, order.number, order.deed.name, order.times, order.code, order.pause, *values)
    return ["sh", "-c", _SCRIPT, "sh", *map(str, words)]


_SCRIPT = f"""
notes=$1 number=$2 deed=$3 times=$4 code=$5 pause=$6
shift 6
note() {{ echo "$1 $number $PPID" >>"$notes"; }}
note begin
sleep "$pause"
case $deed in
EXITS) exit "$code" ;;
LATE) sleep 60 ;;
FLAKY) if [ "$(grep -c "^raise $number " "$notes")" -lt "$times" ]; then note raise; exit {_FLAKY}; fi ;;
esac
total=$((number * 7919 + 1))
for value; do total=$(((total * 31 + value) % 1000003)); done
printf %s "$total" || {{ note full; exit {_FULL}; }}
note end
"""
