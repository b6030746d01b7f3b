"""Listening sockets, made so that nobody can slip in before they are safe."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path

from sds.net.errors import AddressUnusable

MAX_UNIX_PATH = 107  # sockaddr_un.sun_path of unix(7), without the closing zero
BACKLOG = 4096


class UnixListener:
    """A listening Unix socket at a path of the file system. `close` removes the path if it is still ours."""

    __slots__ = ("_identity", "path", "socket")

    def __init__(self, listening: socket.socket, path: Path, identity: tuple[int, int]) -> None:
        self.socket = listening
        self.path = path
        self._identity = identity

    def close(self) -> None:
        """Stop listening and remove the path; a path that somebody else has taken since is left alone."""
        self.socket.close()
        self.unlink()

    def unlink(self) -> None:
        """Remove the path, so that nobody new finds it; what is accepted or waiting stays."""
        with suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._identity:
                self.path.unlink()


def listen_unix(path: Path, *, mode: int, check_folder: bool = True) -> UnixListener:
    """Listen at `path` with exactly the permissions `mode`, whatever the umask. Raises AddressUnusable.

    The socket is bound under another name, given its permissions, and only then named `path`: nobody can connect
    before. The socket of a dead process is replaced; that of a live one is refused. `check_folder` refuses a folder
    in which other users could put a socket of their own in place of ours.
    """
    path = path.absolute()
    if check_folder:
        _check_folder(path.parent)
    _check_vacant(path)
    temporary = path.with_name(f".{secrets.token_hex(4)}")
    for candidate in (path, temporary):
        if len(os.fsencode(candidate)) > MAX_UNIX_PATH:
            raise AddressUnusable(
                f"{path}: a Unix socket's path is at most {MAX_UNIX_PATH} bytes; choose a shorter folder"
            )
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(temporary))
        temporary.chmod(mode)
        listening.setblocking(False)
        listening.listen(BACKLOG)
        found = temporary.lstat()
        temporary.rename(path)
    except OSError as error:
        listening.close()
        with suppress(OSError):
            temporary.unlink()
        raise AddressUnusable(f"cannot listen on {path}: {error.strerror}") from error
    return UnixListener(listening, path, (found.st_dev, found.st_ino))


def listen_tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` names, all with the same port (0: any). Raises AddressUnusable."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            chosen = port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)
            listening.bind((address[0], chosen, *address[2:]))
            listening.setblocking(False)
            listening.listen(BACKLOG)
    except OSError as error:
        for listening in sockets:
            listening.close()
        reason = error.strerror or str(error)
        raise AddressUnusable(f"cannot listen on {host}:{port}: {reason}") from error
    return sockets


def _check_vacant(path: Path) -> None:
    """Nothing at `path`, or the socket of a process that no longer listens."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise AddressUnusable(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressUnusable(f"{path} exists and is not a socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result not in (errno.ECONNREFUSED, errno.ENOENT):
        raise AddressUnusable(f"{path} is in use by a running process; stop it or choose another path")


def _check_folder(folder: Path) -> None:
    """Whoever may rename in the folder may pose as us: only root and our own user, or a sticky folder."""
    try:
        found = folder.stat()
    except OSError as error:
        raise AddressUnusable(f"the folder {folder} of the socket cannot be used: {error.strerror}") from error
    if found.st_uid not in (0, os.geteuid()):
        raise AddressUnusable(f"the folder {folder} of the socket belongs to another user (uid {found.st_uid})")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise AddressUnusable(
            f"others may write to the folder {folder} of the socket, so they could replace it; use: chmod go-w {folder}"
        )
