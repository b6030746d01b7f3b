from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sds.clock import SystemClock
from sds.net.admission import AddressAdmission
from sds.net.limits import Rate, TokenBuckets
from sds.net.listen import listen_tcp
from sds.net.relay import Relay
from sds.net.tcp import TcpPeer, TcpPeers
from tests.unit.net.relay_kit import Seen, on_each_loop, open_descriptors, receive, receive_peek, relay_kit


@on_each_loop
async def test_bytes_go_both_ways_and_the_backend_sees_a_name_of_its_own(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with relay_kit(folder) as kit:
        client, backend, name = await kit.pair()
        connection = kit.relay.lookup(name)
        assert connection is not None
        assert connection.peer.identity.pid == os.getpid()
        await loop.sock_sendall(client, b"question")
        assert await receive(backend, 8) == b"question"
        await loop.sock_sendall(backend, b"answer")
        assert await receive(client, 6) == b"answer"
        assert sorted(p.name for p in folder.iterdir()) == ["backend", "public"], "no path is made"
        client.close()
        assert await receive(backend, 1) == b""
        backend.close()
        await kit.seen.until(lambda: kit.seen.closings)
        assert kit.relay.lookup(name) is None


@on_each_loop
async def test_large_transfers_arrive_whole_both_ways_at_once(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    up, down = os.urandom(3_000_000), os.urandom(2_500_001)
    async with relay_kit(folder) as kit:
        client, backend, _ = await kit.pair()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(loop.sock_sendall(client, up))
            group.create_task(loop.sock_sendall(backend, down))
            got_up = group.create_task(receive(backend, len(up)))
            got_down = group.create_task(receive(client, len(down)))
        assert hashlib.sha256(got_up.result()).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(got_down.result()).digest() == hashlib.sha256(down).digest()
        client.close()
        backend.close()


@on_each_loop
async def test_half_close_passes_on_and_the_answer_still_arrives(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with relay_kit(folder) as kit:
        client, backend, _ = await kit.pair()
        await loop.sock_sendall(client, b"all I have to say")
        client.shutdown(socket.SHUT_WR)
        assert await receive(backend, 1000) == b"all I have to say"
        await loop.sock_sendall(backend, b"understood")
        backend.close()
        assert await receive(client, 1000) == b"understood"
        client.close()
        await kit.seen.until(lambda: kit.seen.closings == ["closed"])


@on_each_loop
async def test_half_close_behind_a_slow_reader_loses_nothing(folder: Path) -> None:
    """The end is passed on only after everything that was said before it."""
    data = os.urandom(900_000)
    async with relay_kit(folder) as kit:
        client, backend, _ = await kit.pair()
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(backend, data))
        sending.add_done_callback(lambda _: backend.shutdown(socket.SHUT_WR))
        assert await receive(client, len(data) + 1) == data
        await sending
        client.close()
        backend.close()


@on_each_loop
async def test_a_client_that_stays_after_the_backend_closed_is_cut(folder: Path) -> None:
    async with relay_kit(folder, linger=0.05) as kit:
        client, backend, _ = await kit.pair()
        backend.close()
        await kit.seen.until(lambda: kit.seen.closings)
        assert await receive(client, 1) == b""
        client.close()


@pytest.mark.parametrize("side", ["client", "backend"])
@on_each_loop
async def test_an_abrupt_end_with_bytes_unread_ends_the_other_side(folder: Path, side: str) -> None:
    """Closing with unread bytes resets the connection (unix(7))."""
    loop = asyncio.get_running_loop()
    async with relay_kit(folder, linger=0.05) as kit:
        client, backend, _ = await kit.pair()
        dying, living = (client, backend) if side == "client" else (backend, client)
        await loop.sock_sendall(living, b"never read")
        assert await receive_peek(dying)
        dying.close()
        with contextlib.suppress(ConnectionError):
            assert await receive(living, 1) == b""
        living.close()
        await kit.seen.until(lambda: kit.seen.closings)
        assert len(kit.relay) == 0


@on_each_loop
async def test_a_slow_reader_holds_up_the_sender_and_nobody_else(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with relay_kit(folder) as kit:
        slow, slow_backend, _ = await kit.pair()
        quick, quick_backend, _ = await kit.pair()
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.2):
                    await loop.sock_sendall(slow_backend, b"x" * 65536)
                sent += 65536
                assert sent < 8_000_000, "the relay buffers without bound"
        await loop.sock_sendall(quick_backend, b"still here")
        assert await receive(quick, 10) == b"still here"
        for sock in (slow, slow_backend, quick, quick_backend):
            sock.close()


@on_each_loop
async def test_a_refusing_backend_closes_the_client_at_once(folder: Path) -> None:
    async with relay_kit(folder, listening=False) as kit:
        client = await kit.connect()
        assert await receive(client, 1) == b""
        client.close()
        assert kit.seen.closings == ["backend unreachable: Connection refused"]
        assert len(kit.relay) == 0


@on_each_loop
async def test_a_full_backend_queue_is_waited_for(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with relay_kit(folder, listening=False) as kit:
        kit.backend.listen(0)
        clients = [await kit.connect() for _ in range(20)]
        for number, client in enumerate(clients):
            await loop.sock_sendall(client, f"{number:02}".encode())
        heard = set()
        for _ in clients:
            async with asyncio.timeout(10):
                accepted, _ = await loop.sock_accept(kit.backend)
            heard.add(await receive(accepted, 2))
            accepted.close()
        assert heard == {f"{number:02}".encode() for number in range(20)}
        for client in clients:
            client.close()


@on_each_loop
async def test_caps_of_a_user_and_in_total(folder: Path) -> None:
    async with relay_kit(folder, per_uid=2) as kit:
        kept = [await kit.pair() for _ in range(2)]
        third = await kit.connect()
        assert await receive(third, 1) == b""
        assert kit.seen.refusals == ["per_peer"]
        kept[0][0].close()
        kept[0][1].close()
        await kit.seen.until(lambda: kit.seen.closings)
        fourth = await kit.pair()
        for sock in (third, *kept[1][:2], *fourth[:2]):
            sock.close()


@on_each_loop
async def test_one_user_connects_only_so_fast(folder: Path) -> None:
    async with relay_kit(folder, buckets=TokenBuckets(Rate(0.001, 2))) as kit:
        pairs = [await kit.pair() for _ in range(2)]
        third = await kit.connect()
        assert await receive(third, 1) == b""
        assert kit.seen.refusals == ["rate"]
        for sock in (third, *pairs[0][:2], *pairs[1][:2]):
            sock.close()


@on_each_loop
async def test_connections_are_cut_by_predicate(folder: Path) -> None:
    async with relay_kit(folder) as kit:
        pairs = [await kit.pair() for _ in range(3)]
        victim = kit.relay.lookup(pairs[1][2])
        ended: list[str] = []
        assert victim is not None
        victim.on_close(lambda: ended.append("told"))
        assert kit.relay.close_where(lambda c: c is victim, "banned") == 1
        assert kit.seen.closings == ["banned"]
        assert ended == ["told"]
        victim.on_close(lambda: ended.append("late"))
        assert ended == ["told", "late"]
        victim.close("again")
        assert kit.seen.closings == ["banned"]
        assert await receive(pairs[1][0], 1) == b""
        assert await receive(pairs[1][1], 1) == b""
        assert len(kit.relay) == len(list(kit.relay)) == 2
        for client, backend, _ in pairs:
            client.close()
            backend.close()


@on_each_loop
async def test_no_other_name_finds_a_connection(folder: Path) -> None:
    async with relay_kit(folder) as kit:
        client, backend, real = await kit.pair()
        connection = kit.relay.lookup(real)
        assert connection is not None
        assert connection.id == 1
        assert kit.relay.lookup(real.replace("-", "%2D").replace("unix%2D", "unix-")) is connection, "may be encoded"
        prefix, number, token = real.rsplit("-", 2)
        others = [
            *("", "unix:", "unix-abstract:", f"{prefix}-", f"{prefix}-1", f"{prefix}-1-", f"{prefix}-1-{token}x"),
            *(
                f"{prefix}-2-{token}",
                f"{prefix}-x-{token}",
                f"{prefix}-\u00b2-{token}",
                f"{prefix}-{'9' * 5000}-{token}",
            ),
            *(real.removeprefix("unix-abstract:"), real.replace("unix-abstract:", "unix:"), real + "%00"),
            *(f"unix:{folder}/backend", "ipv4:127.0.0.1:1", real.replace("sds-", "sds-0"), f"{prefix}-01-{token}"),
        ]
        for name in others:
            assert kit.relay.lookup(name) is None, name
        assert number == "1"
        client.close()
        backend.close()


@on_each_loop
async def test_names_cannot_be_foretold(folder: Path) -> None:
    """Else anybody could take the next ones and keep us from connecting."""
    async with relay_kit(folder) as kit:
        pairs = [await kit.pair() for _ in range(3)]
        tokens = {name.rsplit("-", 1)[1] for _, _, name in pairs}
        assert len(tokens) == 3
        assert all(len(token) == 16 for token in tokens)
        for client, backend, _ in pairs:
            client.close()
            backend.close()


@on_each_loop
async def test_after_stopping_nobody_new_comes_and_the_others_stay(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with relay_kit(folder) as kit:
        client, backend, _ = await kit.pair()
        kit.relay.stop_accepting()
        with pytest.raises(ConnectionRefusedError):
            await kit.connect()
        await loop.sock_sendall(client, b"still")
        assert await receive(backend, 5) == b"still"
        client.close()
        backend.close()


FLOOD = """
import os, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for n in range(int(sys.argv[2])):
    one = socket.socket(socket.AF_UNIX); one.connect(sys.argv[1]); one.send(b"hello"); held.append(one)
print("open", flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


@on_each_loop
async def test_a_flood_from_one_process_that_dies_leaves_nothing_behind(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    before = open_descriptors()
    async with relay_kit(folder, total=5000, per_uid=5000) as kit:
        bystander, bystander_backend, _ = await kit.pair()
        accepted: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(kit.backend.accept()[0])

        loop.add_reader(kit.backend.fileno(), accept)
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FLOOD, str(kit.public), "2000", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert flood.stdout is not None
        assert await flood.stdout.readline() == b"open\n"
        await kit.seen.until(lambda: len(kit.relay) == 2001)
        assert open_descriptors() - before < 3 * 2001 + 100, "one pidfd for the process, not for each connection"
        flood.kill()
        await kit.seen.until(lambda: len(kit.relay) == 1)
        assert set(kit.seen.closings) <= {"peer exited", "closed", "Connection reset by peer", "Broken pipe"}
        await loop.sock_sendall(bystander, b"served")
        assert await receive(bystander_backend, 6) == b"served"
        loop.remove_reader(kit.backend.fileno())
        for sock in (*accepted, bystander, bystander_backend):
            sock.close()
        await flood.wait()
        flood._transport.close()  # type: ignore[attr-defined]
    assert open_descriptors() - before < 20


@on_each_loop
async def test_out_of_descriptors_we_pause_say_so_and_recover(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with relay_kit(folder) as kit:
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            for client in clients:
                client.setblocking(False)
                client.connect(str(kit.public))
            await kit.seen.until(lambda: len(kit.seen.failures) >= 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert set(kit.seen.failures) == {"Too many open files"}
        assert len(kit.seen.failures) < 5, "a pause, not a spin"
        for _ in clients:
            async with asyncio.timeout(10):
                accepted, _ = await asyncio.get_running_loop().sock_accept(kit.backend)
            accepted.close()
        for client in clients:
            client.close()


@on_each_loop
async def test_tcp_peers_are_known_by_address_and_limited_by_it(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    backend = socket.socket(socket.AF_UNIX)
    backend.setblocking(False)
    backend.bind(str(folder / "backend"))
    backend.listen(16)
    (listening,) = listen_tcp("127.0.0.1", 0)
    address = listening.getsockname()
    clock, seen = SystemClock(), Seen()
    admission = AddressAdmission(TokenBuckets(Rate(0.001, 3)), total=10, per_address=2, clock=clock)
    relay: Relay[TcpPeer] = Relay(
        listening, folder / "backend", peers=TcpPeers(), admission=admission, observer=seen, clock=clock
    )
    relay.start()
    clients = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, address)
        clients.append(client)
    accepted, name = await loop.sock_accept(backend)
    connection = relay.lookup(f"unix-abstract:{name[1:].decode()}")
    assert connection is not None
    assert (connection.peer.host, connection.peer.port) == clients[0].getsockname()
    assert str(connection.peer) == f"127.0.0.1:{clients[0].getsockname()[1]}"
    await seen.until(lambda: len(seen.refusals) == 2)
    assert seen.refusals == ["per_peer", "rate"]
    relay.close()
    for sock in (*clients, accepted, backend):
        sock.close()
