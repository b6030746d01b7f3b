"""PostgreSQL's LISTEN/NOTIFY in a thread of its own. Only a hint: the feed's polling is the net when it is lost."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import URL

from sds.clock import Clock
from sds.store.changes import CHANNEL
from sds.store.engines import connect_arguments

FIRST_DELAY = 0.1  # seconds before connecting again; doubles with each failure
MAX_DELAY = 10.0


class Listener:
    """Calls `wake` for every notification, and after each (re)connection, since some may have been missed."""

    def __init__(self, url: URL, connect_timeout: int, clock: Clock, wake: Callable[[], None]) -> None:
        self._arguments = connect_arguments(url, connect_timeout)
        self._clock = clock
        self._wake = wake
        self._stopping = threading.Event()
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="sds-store-listen", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks for a moment."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._stop_writer, b"x")
        self._thread.join()
        os.close(self._stop_reader)
        os.close(self._stop_writer)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with psycopg.connect(**self._arguments, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    failures = 0
                    self._wake()
                    self._listen(connection)
            except (psycopg.Error, OSError):
                failures += 1
                delay = min(MAX_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 10)) * (0.5 + self._clock.jitter())
                self._stopping.wait(delay)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        """Until stopped. Raises psycopg.Error when the connection is lost."""
        with selectors.DefaultSelector() as selector:  # not select(): descriptors above 1024 are normal in a server
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._stop_reader, selectors.EVENT_READ)
            while not self._stopping.is_set():
                connection.pgconn.consume_input()
                noted = False
                while connection.pgconn.notifies() is not None:
                    noted = True
                if noted:
                    self._wake()
                selector.select()
