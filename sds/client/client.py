"""The admin API's client: one property a noun, each made when it is first used."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Self

from sds.client.targets import Target
from sds.client.transport.connection import TIMEOUT, Call, Connection
from sds.client.transport.retry import Retry
from sds.clock import Clock

if TYPE_CHECKING:
    from sds.client.access import Access
    from sds.client.agents import Agents
    from sds.client.approvals import Approvals
    from sds.client.audit import Audit
    from sds.client.authorities import Authorities
    from sds.client.bundle import Bundle
    from sds.client.certificates import Certificates
    from sds.client.entries import Entries
    from sds.client.federations import Federations
    from sds.client.grants import Grants
    from sds.client.insight import Insight
    from sds.client.jwt import Jwt
    from sds.client.kek import Kek
    from sds.client.node import Node
    from sds.client.notices import Notices
    from sds.client.revocations import Revocations
    from sds.client.secrets import Secrets
    from sds.client.streams import Streams
    from sds.client.tokens import Tokens


class Client:
    """Calls of one server. Every error is a ClientError.

    `timeout`: seconds from sending a call to the end of its answer. `retry`: of calls that the server puts off (429,
    503). `on_call` hears of each answer, repeated calls included. May be used by several threads.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout: float = TIMEOUT,
        retry: Retry | None = None,
        on_call: Callable[[Call], None] | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(target, timeout=timeout, retry=retry, on_call=on_call, clock=clock, sleep=sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; the client opens new ones if it is used again."""
        self._connection.close()

    @property
    def where(self) -> str:
        """The target for messages: a socket's path or a URL."""
        return self._connection.where

    @cached_property
    def entries(self) -> Entries:
        """Registration entries: who gets which identity."""
        from sds.client.entries import Entries  # noqa: PLC0415  # who uses one noun loads no other

        return Entries(self._connection)

    @cached_property
    def agents(self) -> Agents:
        """Agents that have proved themselves."""
        from sds.client.agents import Agents  # noqa: PLC0415  # who uses one noun loads no other

        return Agents(self._connection)

    @cached_property
    def streams(self) -> Streams:
        """The fleet view: what each sidecar was sent, and has accepted or refused."""
        from sds.client.streams import Streams  # noqa: PLC0415  # who uses one noun loads no other

        return Streams(self._connection)

    @cached_property
    def tokens(self) -> Tokens:
        """One-time join tokens for agents."""
        from sds.client.tokens import Tokens  # noqa: PLC0415  # who uses one noun loads no other

        return Tokens(self._connection)

    @cached_property
    def bundle(self) -> Bundle:
        """The trust bundle."""
        from sds.client.bundle import Bundle  # noqa: PLC0415  # who uses one noun loads no other

        return Bundle(self._connection)

    @cached_property
    def authorities(self) -> Authorities:
        """The authorities that sign certificates and tokens."""
        from sds.client.authorities import Authorities  # noqa: PLC0415  # who uses one noun loads no other

        return Authorities(self._connection)

    @cached_property
    def jwt(self) -> Jwt:
        """JWT-SVIDs by hand."""
        from sds.client.jwt import Jwt  # noqa: PLC0415  # who uses one noun loads no other

        return Jwt(self._connection)

    @cached_property
    def revocations(self) -> Revocations:
        """Taking back what was issued, and the blocks that this leaves."""
        from sds.client.revocations import Revocations  # noqa: PLC0415  # who uses one noun loads no other

        return Revocations(self._connection)

    @cached_property
    def federations(self) -> Federations:
        """Other trust domains, and how their bundles are had."""
        from sds.client.federations import Federations  # noqa: PLC0415  # who uses one noun loads no other

        return Federations(self._connection)

    @cached_property
    def secrets(self) -> Secrets:
        """Named secrets, without their values."""
        from sds.client.secrets import Secrets  # noqa: PLC0415  # who uses one noun loads no other

        return Secrets(self._connection)

    @cached_property
    def grants(self) -> Grants:
        """Who may have which secret."""
        from sds.client.grants import Grants  # noqa: PLC0415  # who uses one noun loads no other

        return Grants(self._connection)

    @cached_property
    def notices(self) -> Notices:
        """What people are told of."""
        from sds.client.notices import Notices  # noqa: PLC0415  # who uses one noun loads no other

        return Notices(self._connection)

    @cached_property
    def audit(self) -> Audit:
        """The log of who did what."""
        from sds.client.audit import Audit  # noqa: PLC0415  # who uses one noun loads no other

        return Audit(self._connection)

    @cached_property
    def kek(self) -> Kek:
        """The key-encryption key."""
        from sds.client.kek import Kek  # noqa: PLC0415  # who uses one noun loads no other

        return Kek(self._connection)

    @cached_property
    def node(self) -> Node:
        """The agent on this node, at its own socket."""
        from sds.client.node import Node  # noqa: PLC0415  # who uses one noun loads no other

        return Node(self._connection)

    @cached_property
    def certificates(self) -> Certificates:
        """The inventory: what was issued, to whom, and who holds it now."""
        from sds.client.certificates import Certificates  # noqa: PLC0415  # who uses one noun loads no other

        return Certificates(self._connection)

    @cached_property
    def access(self) -> Access:
        """Who may use the admin API, and who the caller is."""
        from sds.client.access import Access  # noqa: PLC0415  # who uses one noun loads no other

        return Access(self._connection)

    @cached_property
    def insight(self) -> Insight:
        """Who would get what, and the numbers of the whole."""
        from sds.client.insight import Insight  # noqa: PLC0415  # who uses one noun loads no other

        return Insight(self._connection)

    @cached_property
    def approvals(self) -> Approvals:
        """What is done only once somebody else approves it."""
        from sds.client.approvals import Approvals  # noqa: PLC0415  # who uses one noun loads no other

        return Approvals(self._connection)
