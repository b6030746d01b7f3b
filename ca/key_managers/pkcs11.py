"""Authority keys in a PKCS #11 token (an HSM, a smart card, SoftHSM): made there, never leaving it, signing there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

from pkcs11 import Session

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable
from ca.key_manager import ManagedKey
from ca.key_managers.objects import KEY_TYPES, TokenKey, destroy_pair, find_private, make_pair, prove, read_public, sign
from ca.key_managers.token import KeyNotFound, TokenConfig, TokenSession
from ca.keys import KeyType, PublicKey
from ca.signer import Scheme, Signer, check_scheme

NAME = "pkcs11"
KEY_ID_BYTES = 16
MAX_LABEL = 32
"""Characters, as some tokens keep no more."""

_KEY_ID = re.compile(r"(?:[0-9a-f]{2}){1,64}", re.ASCII)

T = TypeVar("T")


class Pkcs11KeyManager:
    """A reference is the id (CKA_ID, hex) of a key pair in the one token that is configured."""

    name = NAME

    def __init__(
        self,
        config: TokenConfig,
        trust_domain: TrustDomain,
        random_bytes: Callable[[int], bytes],
        monotonic: Callable[[], float],
    ) -> None:
        """Opens nothing yet. `random_bytes` makes ids that no other key has."""
        self._token = TokenSession(config, monotonic)
        self._trust_domain = trust_domain
        self._random_bytes = random_bytes
        self._signers: dict[bytes, Signer] = {}
        self._missing: frozenset[bytes] = frozenset()

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        """The key's label in the token is the purpose and the trust domain, for people; nothing looks for it."""
        if key_type not in KEY_TYPES:
            kinds = ", ".join(sorted(KEY_TYPES))
            raise AuthorityUnavailable(f"key manager {self.name} makes no {key_type} keys, only {kinds}")
        key_id = self._random_bytes(KEY_ID_BYTES)
        label = f"{purpose} {self._trust_domain.name}"[:MAX_LABEL]

        def make(session: Session) -> PublicKey:
            destroy_pair(session, key_id)  # what a try in a session that was lost may have left
            make_pair(session, key_type, key_id, label)
            try:
                return _read(session, key_id)
            except AuthorityUnavailable:
                destroy_pair(session, key_id)
                raise

        public_key = await asyncio.to_thread(self.run, key_id, make)
        return ManagedKey(f"{self.name}:{key_id.hex()}", key_type, self._remember(key_id, public_key))

    async def signer(self, ref: str) -> Signer:
        key_id = self._key_id(ref)
        known = self._signers.get(key_id)
        if known is not None:
            return known
        public_key = await asyncio.to_thread(self.run, key_id, lambda session: _read(session, key_id))
        return self._remember(key_id, public_key)

    async def forget(self, ref: str) -> None:
        key_id = self._key_id(ref)
        await asyncio.to_thread(self._token.run, lambda session: destroy_pair(session, key_id))
        self._signers.pop(key_id, None)

    async def check(self, refs: Collection[str]) -> None:
        wanted = [self._key_id(ref) for ref in refs]
        gone: set[bytes] = set()

        def look(session: Session) -> None:
            gone.clear()
            gone.update(key_id for key_id in wanted if not _has(session, key_id))
            if news := gone - self._missing:  # worth a new session; what was missing before is not, every time
                raise KeyNotFound(min(news).hex())

        with suppress(KeyNotFound):
            await asyncio.to_thread(self._token.run, look)
        self._missing = frozenset(gone)
        if gone:
            raise AuthorityUnavailable(_missing(min(gone)))

    def problem(self, ref: str) -> str | None:
        if self._token.problem is not None:
            return self._token.problem
        key_id = self._key_id(ref)
        return _missing(key_id) if key_id in self._missing else None

    async def close(self) -> None:
        await asyncio.to_thread(self._token.close)

    @property
    def sessions(self) -> int:
        """How many sessions there have been: a handle of an object is good within one."""
        return self._token.opened

    def run(self, key_id: bytes, work: Callable[[Session], T]) -> T:
        """Do something with a key. Blocks. Raises AuthorityUnavailable.

        A key that was not found is not looked for again before the next check: each search for one that is not there
        costs all others their session.
        """
        if key_id in self._missing:
            raise AuthorityUnavailable(_missing(key_id))
        try:
            return self._token.run(work)
        except KeyNotFound as error:
            self._missing |= {key_id}
            raise AuthorityUnavailable(_missing(key_id)) from error

    def _remember(self, key_id: bytes, public_key: PublicKey) -> Signer:
        return self._signers.setdefault(key_id, Pkcs11Signer(self, key_id, public_key))

    def _key_id(self, ref: str) -> bytes:
        manager, _, key_id = ref.partition(":")
        if manager != self.name:
            raise AuthorityUnavailable(f"the authority's key is with key manager {manager!r}, not {self.name!r}")
        if not _KEY_ID.fullmatch(key_id):
            raise AuthorityUnavailable("the reference to the authority's key is damaged")
        return bytes.fromhex(key_id)


class Pkcs11Signer:
    """A key that stays in its token. Implements ca.signer.Signer; `sign` blocks."""

    __slots__ = ("_handle", "_key_id", "_manager", "_session", "public_key")

    def __init__(self, manager: Pkcs11KeyManager, key_id: bytes, public_key: PublicKey) -> None:
        self._manager = manager
        self._key_id = key_id
        self.public_key = public_key
        self._session = 0
        self._handle: TokenKey | None = None

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        """All in one session, one after the other. Raises AuthorityUnavailable."""
        check_scheme(self.public_key, scheme)
        if not messages:
            return []
        return self._manager.run(self._key_id, lambda session: self._sign(session, messages, scheme))

    def _sign(self, session: Session, messages: Sequence[bytes], scheme: Scheme) -> list[bytes]:
        """Under the token's lock."""
        if self._handle is None or self._session != self._manager.sessions:
            handle = find_private(session, self._key_id)
            prove(handle, self.public_key)
            self._handle, self._session = handle, self._manager.sessions
        return sign(self._handle, self.public_key, messages, scheme)

    def __repr__(self) -> str:
        return f"Pkcs11Signer({self._key_id.hex()})"


def _read(session: Session, key_id: bytes) -> PublicKey:
    """The public key of a pair that is whole, sealed and sound."""
    public_key = read_public(session, key_id)
    prove(find_private(session, key_id), public_key)
    return public_key


def _has(session: Session, key_id: bytes) -> bool:
    try:
        find_private(session, key_id)
    except KeyNotFound:
        return False
    return True


def _missing(key_id: bytes) -> str:
    return f"key {key_id.hex()} is not in the PKCS #11 token: connect the token, or the replica of it, that has the key"
