from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sds.lifecycle import Systemd, private_umask, raise_nofile, signals
from tests.fakes.wait import until


def run(program: str, *, timeout: float = 30) -> str:
    """What a process of its own prints: limits and dumpability must not change for the test runner."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_core_dumps_are_off() -> None:
    printed = run("""
        import ctypes, resource
        from sds.lifecycle import disable_core_dumps
        disable_core_dumps()
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
    """)
    assert printed == "0 (0, 0)"


def test_a_killed_process_leaves_no_core(tmp_path: Path) -> None:
    program = f"""
        import os, resource, signal
        os.chdir({str(tmp_path)!r})
        from sds.lifecycle import disable_core_dumps
        disable_core_dumps()
        os.kill(os.getpid(), signal.SIGABRT)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []


def test_umask(tmp_path: Path) -> None:
    before = private_umask()
    try:
        (tmp_path / "f").touch()
        (tmp_path / "d").mkdir()
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


class TestNofile:
    def test_enough_stays(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        found = raise_nofile(8)
        assert found.enough
        assert found.advice == ""
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft

    def test_soft_is_raised_to_what_is_wanted(self) -> None:
        assert run("""
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
            from sds.lifecycle import raise_nofile
            print(raise_nofile(256).achieved, resource.getrlimit(resource.RLIMIT_NOFILE))
        """) == "256 (256, 512)"  # fmt: skip

    @pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
    def test_too_low_is_told(self) -> None:
        printed = run("""
            import os, resource
            from sds.lifecycle import raise_nofile
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
            os.setuid(65534)
            found = raise_nofile(4096)
            print(found.achieved, found.enough, resource.getrlimit(resource.RLIMIT_NOFILE)[0], found.advice)
        """)
        assert printed.startswith("512 False 512 only 512 open files are allowed but 4096 are wanted")
        assert "LimitNOFILE=4096" in printed

    def test_more_than_the_kernel_ever_allows_is_told(self) -> None:
        printed = run("""
            from sds.lifecycle import raise_nofile
            found = raise_nofile(2**40)
            print(found.enough, found.achieved >= 64)
        """)
        assert printed == "False True"


class TestSystemd:
    @pytest.mark.parametrize("abstract", [False, True])
    def test_says(self, tmp_path: Path, abstract: bool) -> None:
        address = f"@sds-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind("\0" + address[1:] if abstract else address)
            manager.settimeout(5)
            systemd = Systemd({"NOTIFY_SOCKET": address}, os.getpid())
            assert systemd.ready("serving\nREADY=0")
            assert systemd.reloading(123)
            assert systemd.watchdog()
            assert systemd.status("x")
            assert systemd.stopping()
            said = [manager.recv(1024).decode() for _ in range(5)]
        assert said == [
            "READY=1\nSTATUS=serving READY=0",
            "RELOADING=1\nMONOTONIC_USEC=123",
            "WATCHDOG=1",
            "STATUS=x",
            "STOPPING=1",
        ]

    @pytest.mark.parametrize("address", ["", "relative", "/does/not/exist", "/" + "x" * 300, "vsock:2:1"])
    def test_nobody_listens(self, address: str) -> None:
        assert not Systemd({"NOTIFY_SOCKET": address} if address else {}, 1).ready()

    @pytest.mark.parametrize(
        ("environ", "interval"),
        [
            ({}, 0),
            ({"WATCHDOG_USEC": "30000000"}, 15),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0),
            ({"WATCHDOG_USEC": "soon"}, 0),
        ],
    )
    def test_watchdog(self, environ: dict[str, str], interval: float) -> None:
        assert Systemd(environ, 7).watchdog_interval == interval


class TestSignals:
    async def test_stop_and_reload(self) -> None:
        stop, reloads = asyncio.Event(), []
        with signals(stop, lambda: reloads.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: reloads)
            assert (reloads, stop.is_set()) == ([1], False)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stop.wait(), 5)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler

    def test_the_second_signal_ends_a_process_that_hangs(self) -> None:
        program = """
            import asyncio
            from sds.lifecycle import signals
            async def main():
                stop = asyncio.Event()
                with signals(stop, lambda: None):
                    print("up", flush=True)
                    await stop.wait()
                    print("draining", flush=True)
                    await asyncio.sleep(60)
            asyncio.run(main())
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "draining\n"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)  # one that comes with the first, as timeout(1) sends it, counts as the first
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == -signal.SIGTERM
