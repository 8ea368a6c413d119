"""Kinds of faults: those that come from outside, and those that bodies are to themselves and their workers."""

from collections.abc import Mapping
from enum import StrEnum

from chaos.dag import Deed


class Fault(StrEnum):
    """What goes wrong."""

    KILL_WORKER = "kill worker"
    KILL_NANNY = "kill nanny"
    STOP_WORKER = "stop worker"
    FILL_DISK = "fill disk"
    CANCEL_JOB = "cancel job"
    RAISE = "raise"
    EXIT = "exit"
    TIME_OUT = "time out"
    EAT = "eat memory"


#: What deeds of bodies are.
OF_DEEDS: Mapping[Deed, Fault] = {
    Deed.FLAKY: Fault.RAISE,
    Deed.RAISES: Fault.RAISE,
    Deed.EXITS: Fault.EXIT,
    Deed.CRASHES: Fault.EXIT,
    Deed.DIES: Fault.EXIT,
    Deed.FATAL: Fault.EXIT,
    Deed.LATE: Fault.TIME_OUT,
    Deed.EATS: Fault.EAT,
    Deed.EATS_ALL: Fault.EAT,
    Deed.FILLS: Fault.FILL_DISK,
}

#: How many of each are thrown at five hundred steps; at least one, however few there are. Three jobs are lost: with the
#: third a pool is given up whose jobs have lived for less than a minute, and two that came in their stead go on.
SHARES: Mapping[Fault, int] = {
    Fault.KILL_WORKER: 3,
    Fault.KILL_NANNY: 1,  # nobody starts a local worker again whose nanny is gone
    Fault.STOP_WORKER: 2,
    Fault.FILL_DISK: 2,
    Fault.CANCEL_JOB: 2,
}
