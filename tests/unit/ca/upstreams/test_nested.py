"""What an upstream server answers is judged before anything rests on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from attestation.spiffe_id import TrustDomain
from ca.csr import parse_csr
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, generate
from ca.signer import LocalSigner
from ca.upstreams.issuing import Issuer, draft, sign
from ca.upstreams.nested import SKEW, Intermediate, NestedUpstream
from tests.fakes.ca import TRUST_DOMAIN, make_authority, serial_source
from tests.fakes.clock import EPOCH
from tests.fakes.pki import make

DAY = timedelta(days=1)
ABOVE = make_authority()
ROOT = ABOVE.authority.certificate
ISSUER = Issuer(ABOVE.certificate, ABOVE.signer, (), (ROOT,), ABOVE.authority.validity)
KEY = LocalSigner.of(generate(KeyType.ECDSA_P256))


class Server:
    """Answers soundly, but for what `spoil` does to it."""

    def __init__(self, spoil: Callable[[Intermediate], Intermediate] = lambda answer: answer) -> None:
        self.spoil = spoil
        self.trust_domain = TRUST_DOMAIN
        self.key = KEY.public_key
        self.longer = timedelta(0)

    def check(self) -> None:
        """Always there."""

    async def sign(self, csr: bytes, lifetime: timedelta) -> Intermediate:
        assert parse_csr(csr).public_key == KEY.public_key
        wanted = draft(
            ISSUER, self.trust_domain, self.key, serial_source(), EPOCH, lifetime + self.longer, timedelta(0)
        )
        minted = sign(ISSUER, wanted, EPOCH)
        return self.spoil(Intermediate(minted.chain, minted.roots))


async def mint(server: Server) -> None:
    minted = await NestedUpstream(server).mint(KEY, KeyType.ECDSA_P256, TRUST_DOMAIN, DAY, EPOCH)
    assert minted.roots == (ROOT,)
    assert len(minted.chain) == 1


async def test_a_sound_answer_is_taken() -> None:
    await mint(Server())


STRANGE = make("strange").der


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda a: Intermediate((), a.unverified_roots), "no certificate"),
        (lambda a: Intermediate(a.unverified_chain, ()), "no root"),
        (lambda a: Intermediate((b"junk",), a.unverified_roots), "cannot be read"),
        (lambda a: Intermediate((*a.unverified_chain, b"junk"), a.unverified_roots), "cannot be read"),
        (lambda a: Intermediate(a.unverified_chain, (b"junk",)), "cannot be read"),
        (lambda a: Intermediate(a.unverified_chain, (STRANGE,)), "none of the roots"),
        (lambda a: Intermediate(a.unverified_chain * 7, a.unverified_roots), "too long"),
        (lambda a: Intermediate(a.unverified_chain, a.unverified_roots * 65), "too long"),
        (lambda a: Intermediate((ROOT,), a.unverified_roots), "longer than was asked"),
    ],
)
async def test_what_is_not_sound_is_not(spoil: Callable[[Intermediate], Intermediate], problem: str) -> None:
    with pytest.raises(AuthorityUnavailable, match=problem):
        await mint(Server(spoil))


async def test_for_another_trust_domain() -> None:
    server = Server()
    server.trust_domain = TrustDomain("other.org")
    with pytest.raises(AuthorityUnavailable, match="does not name the trust domain"):
        await mint(server)


async def test_for_another_key() -> None:
    server = Server()
    server.key = generate(KeyType.ECDSA_P256).public_key()
    with pytest.raises(AuthorityUnavailable, match="another key"):
        await mint(server)


async def test_for_longer_than_was_asked() -> None:
    server = Server()
    server.longer = SKEW
    await mint(server)
    server.longer = SKEW + timedelta(seconds=1)
    with pytest.raises(AuthorityUnavailable, match="longer than was asked"):
        await mint(server)
