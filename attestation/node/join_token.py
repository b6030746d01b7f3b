"""Join tokens: a secret made by the server, good for one attestation (type ``join_token``)."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.attestor import AttestedNode, Evidence
from attestation.errors import AttestationRefused
from attestation.rules import AGENT_PATH
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain

TYPE = "join_token"
TOKEN_BYTES = 32
PREFIX = "sds_join_"
"""Lets secret scanners and the log's net recognise a token."""

_TOKEN = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")
_MAX_PAYLOAD = 256

REFUSAL = "the join token is unknown, used or expired"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token that has just been used up, and the agent that it makes."""

    agent_id: SpiffeId
    expires_at: datetime


class JoinTokenStore(Protocol):
    """Where hashes of tokens are kept; the tokens themselves are nowhere."""

    async def consume(self, token_hash: str, *, now: datetime, address: str) -> JoinToken:
        """Use the token up, atomically: of two callers at once only one succeeds.

        Raises AttestationRefused, in the same words whether it is unknown, used or expired.
        """
        ...


class JoinTokenAttestor:
    """Implements attestation.attestor.NodeAttestor."""

    __slots__ = ("_store",)

    def __init__(self, store: JoinTokenStore) -> None:
        self._store = store

    async def attest(self, evidence: Evidence, *, now: datetime, address: str) -> AttestedNode:
        """Verify a token:

        1. it has a token's form (cheap, before the store is asked);
        2. its hash is that of a live, unused token, which is used up by this very look-up.
        """
        if evidence.type != TYPE:
            raise AttestationRefused(f"evidence is not of type {TYPE}")
        token_hash = hash_token(_parse(evidence.unverified_payload))
        token = await self._store.consume(token_hash, now=now, address=address)
        return AttestedNode(token.agent_id, frozenset({Selector(TYPE, f"hash:{token_hash[:16]}")}))


def encode_token(random: bytes) -> str:
    """The text of a token made of 32 random bytes. A secret: the caller masks it. Raises ValueError."""
    if len(random) != TOKEN_BYTES:
        raise ValueError(f"a join token is made of {TOKEN_BYTES} random bytes")
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def hash_token(token: str) -> str:
    """What is stored and compared instead of the token: SHA-256, hex. It has 256 random bits, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def generated_agent_id(trust_domain: TrustDomain, random: bytes) -> SpiffeId:
    """The agent's SPIFFE ID where the token names none."""
    return SpiffeId(trust_domain, f"{AGENT_PATH}/{TYPE}/{random.hex()}")


def _parse(unverified_payload: bytes) -> str:
    """The token's text; white space around it (a file's last newline) is no part of it."""
    if len(unverified_payload) > _MAX_PAYLOAD:
        raise AttestationRefused(REFUSAL)
    text = unverified_payload.decode("ascii", errors="replace").strip()
    if not _TOKEN.fullmatch(text):
        raise AttestationRefused(REFUSAL)
    return text
