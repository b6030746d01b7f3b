"""What a long-running process owes its host: no core dumps, enough descriptors, systemd's word, orderly signals."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

PR_SET_DUMPABLE = 4  # linux/prctl.h
PRIVATE_UMASK = 0o077
_TOGETHER = 1.0
"""Seconds in which signals that end the process count as one."""


class HardeningFailed(Exception):
    """The kernel refused to protect this process's memory."""


def disable_core_dumps() -> None:
    """Keep keys out of core files and from other processes of the same user (ptrace, /proc/PID/mem).

    prctl(2) PR_SET_DUMPABLE also gives /proc/self to root, which nothing here minds. A child that is executed is
    dumpable again. Raises HardeningFailed.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise HardeningFailed(f"prctl(PR_SET_DUMPABLE, 0) failed: {os.strerror(ctypes.get_errno())}")


def collect_no_garbage_yet() -> None:
    """Call before much is loaded, and `collect_garbage_seldom` once it is. What is loaded stays: looking through it
    again and again finds nothing. After 200,000 new objects it is done even so.
    """
    gc.set_threshold(200_000, 50, 50)


def collect_garbage_seldom() -> None:
    """Call once everything is loaded. Streams and entries live long: looking through all of them again and again took
    more time than serving them.

    What is loaded by now stays for good; what comes is looked through after 20,000 new objects (gc.set_threshold), and
    what survives that 2,500 times less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def private_umask() -> int:
    """Files and folders made from here on are the owner's alone. Returns the former mask."""
    return os.umask(PRIVATE_UMASK)


@dataclass(frozen=True, slots=True)
class Descriptors:
    """RLIMIT_NOFILE after `raise_nofile`."""

    wanted: int
    achieved: int

    @property
    def enough(self) -> bool:
        return self.achieved >= self.wanted

    @property
    def advice(self) -> str:
        """What to do if it is too low; empty if it is not."""
        if self.enough:
            return ""
        return (
            f"only {self.achieved} open files are allowed but {self.wanted} are wanted: "
            f"set LimitNOFILE={self.wanted} in the systemd unit, or `ulimit -n {self.wanted}` before the start"
        )


def raise_nofile(wanted: int) -> Descriptors:
    """Raise the soft limit of open files to `wanted`, and the hard one where that is allowed. Never lowers one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _at_least(soft, wanted):
        return Descriptors(wanted, wanted if soft == resource.RLIM_INFINITY else soft)
    if not _at_least(hard, wanted):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))  # needs CAP_SYS_RESOURCE
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return Descriptors(wanted, hard)
        return Descriptors(wanted, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return Descriptors(wanted, wanted)


def _at_least(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted


class Systemd:
    """sd_notify(3): tells the service manager what this process is doing. Silent where there is none."""

    __slots__ = ("_address", "_watchdog")

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # a leading @ stands for the NUL of an abstract socket (unix(7))
        self._address = "\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else ""
        usec = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        self._watchdog = int(usec) / 1_000_000 if usec.isascii() and usec.isdigit() and meant else 0.0

    @property
    def watchdog_interval(self) -> float:
        """Seconds between calls of `watchdog`, half of what systemd allows (sd_watchdog_enabled(3)); 0: none asked."""
        return self._watchdog / 2

    def ready(self, status: str = "") -> bool:
        return self._send("READY=1", status)

    def reloading(self, monotonic_usec: int) -> bool:
        """A reload has begun; `ready` ends it. Type=notify-reload wants CLOCK_MONOTONIC in microseconds."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec}")

    def stopping(self) -> bool:
        return self._send("STOPPING=1")

    def watchdog(self) -> bool:
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        return self._send("", text)

    def _send(self, state: str, status: str = "") -> bool:
        """Whether the manager was told; never raises, because serving matters more."""
        if not self._address:
            return False
        line = f"STATUS={' '.join(status.split())}" if status else ""
        message = "\n".join(part for part in (state, line) if part)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.connect(self._address)
                sock.send(message.encode())
        except OSError:
            return False
        return True


@contextmanager
def signals(stop: asyncio.Event, reload: Callable[[], None]) -> Iterator[None]:
    """In this block SIGTERM and SIGINT set `stop`, and SIGHUP calls `reload` on the loop.

    A second SIGTERM or SIGINT takes its default effect, so a process that hangs while draining can be ended. One that
    comes with the first is the same: timeout(1), make and terminals tell the process and its group.
    """
    loop = asyncio.get_running_loop()
    ending = (signal.SIGTERM, signal.SIGINT)
    timers: list[asyncio.TimerHandle] = []

    def let_go() -> None:
        for number in ending:
            loop.remove_signal_handler(number)

    def end() -> None:
        stop.set()
        if not timers:
            timers.append(loop.call_later(_TOGETHER, let_go))

    for number in ending:
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number in (*ending, signal.SIGHUP):
            loop.remove_signal_handler(number)
