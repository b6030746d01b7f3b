from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from sds.net.errors import AddressUnusable
from sds.net.listen import listen_tcp, listen_unix


@pytest.fixture(autouse=True)
def _umask() -> object:
    """The strictest and the laxest umask give the same permissions; the lax one is the risk."""
    before = os.umask(0)
    yield None
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_permissions_are_exact_whatever_the_umask(folder: Path, mode: int, umask: int) -> None:
    os.umask(umask)
    listener = listen_unix(folder / "s", mode=mode)
    assert mode_of(folder / "s") == mode
    assert [p.name for p in folder.iterdir()] == ["s"], "no temporary name is left"
    listener.close()
    assert list(folder.iterdir()) == []


def test_the_socket_of_a_dead_process_is_replaced(folder: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "s"))
    dead.close()
    listener = listen_unix(folder / "s", mode=0o600)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "s"))
    listener.close()


def test_a_live_socket_is_refused_and_left_working(folder: Path) -> None:
    first = listen_unix(folder / "s", mode=0o600)
    with pytest.raises(AddressUnusable, match="in use by a running process"):
        listen_unix(folder / "s", mode=0o600)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "s"))
    first.close()


def test_a_live_socket_with_a_full_queue_counts_as_live(folder: Path) -> None:
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(str(folder / "s"))
    busy.listen(0)
    waiting = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        waiting.append(client)
        if client.connect_ex(str(folder / "s")) != 0:
            break
    with pytest.raises(AddressUnusable, match="in use"):
        listen_unix(folder / "s", mode=0o600)
    for client in waiting:
        client.close()
    busy.close()


def test_a_file_is_never_overwritten(folder: Path) -> None:
    (folder / "s").write_text("precious")
    with pytest.raises(AddressUnusable, match="is not a socket"):
        listen_unix(folder / "s", mode=0o600)
    assert (folder / "s").read_text() == "precious"


def test_a_symbolic_link_is_not_followed(folder: Path) -> None:
    (folder / "s").symlink_to(folder / "elsewhere")
    with pytest.raises(AddressUnusable, match="is not a socket"):
        listen_unix(folder / "s", mode=0o600)
    assert not (folder / "elsewhere").exists()


def test_a_folder_that_others_may_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(AddressUnusable, match="chmod go-w"):
        listen_unix(folder / "s", mode=0o600)
    folder.chmod(0o1777)
    listen_unix(folder / "s", mode=0o600).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, 12345, 12345)
    with pytest.raises(AddressUnusable, match="belongs to another user"):
        listen_unix(folder / "s", mode=0o600)


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(AddressUnusable, match="No such file"):
        listen_unix(folder / "absent" / "s", mode=0o600)


def test_a_path_that_the_kernel_cannot_take_is_refused(folder: Path) -> None:
    with pytest.raises(AddressUnusable, match="at most 107 bytes"):
        listen_unix(folder / ("s" * 110), mode=0o600)


def test_closing_leaves_a_path_that_another_has_taken(folder: Path) -> None:
    first = listen_unix(folder / "s", mode=0o600)
    (folder / "s").unlink()
    second = listen_unix(folder / "s", mode=0o600)
    first.close()
    assert (folder / "s").exists()
    second.close()


def test_tcp_listens_on_every_address_with_one_port() -> None:
    sockets = listen_tcp("127.0.0.1", 0)
    assert len(sockets) == 1
    port = sockets[0].getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        pass
    with pytest.raises(AddressUnusable, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
        listen_tcp("127.0.0.1", port)
    for listening in sockets:
        listening.close()


def test_tcp_names_a_host_that_does_not_resolve() -> None:
    with pytest.raises(AddressUnusable, match=r"cannot listen on 256\.0\.0\.1:1"):
        listen_tcp("256.0.0.1", 1)
