"""OCSP by a real client, OpenSSL, and by the library; CRLs over HTTP. On both databases."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from starlette.applications import Starlette

from ca.authority import Authority, AuthorityKind, AuthorityState, SigningAuthority
from ca.bundle import to_pem
from ca.ocsp.response import IssuerHashes
from ca.revocation import Reason, parse_crl
from ca.serial import random_serial
from ca.signer import Signer
from sds.clock import SystemClock
from sds.http.unix import HttpServer, serve_tcp
from sds.server.events import Events
from sds.server.revocation.ocsp import OcspPolicy, OcspService
from sds.server.revocation.routes import revocation_routes
from sds.server.revocation.served import ServedLists
from sds.store.store import Store, open_store
from tests.contract.conftest import QUICK
from tests.contract.revocation.conftest import World
from tests.contract.store.samples import certificate
from tests.fakes.ca import TRUST_DOMAIN, Holder, make_authority, make_svid
from tests.fakes.clock import FakeClock

OPENSSL = shutil.which("openssl")
VALIDITY = timedelta(minutes=10)


class RealTime(FakeClock):
    """OpenSSL judges answers by the machine's clock; a test may add to it."""

    def __init__(self) -> None:
        super().__init__()
        self._start = self.monotonic()

    def now(self) -> datetime:
        return SystemClock().now() + timedelta(seconds=self.monotonic() - self._start)


@dataclass
class Scene:
    world: World
    http: httpx.AsyncClient
    url: str
    service: OcspService
    authorities: list[SigningAuthority] = field(default_factory=list)

    # What the responder sees of the authorities

    def slots(self, kind: AuthorityKind | None = None) -> tuple[Authority, ...]:
        assert kind in (None, AuthorityKind.X509)
        return tuple(one.authority for one in self.authorities)

    async def signer(self, authority: Authority) -> Signer:
        return await self.world.signer(authority)

    # What happens

    async def authority(self, state: AuthorityState = AuthorityState.ACTIVE) -> SigningAuthority:
        made = await self.world.authority(state)
        self.authorities.append(made)
        return made

    async def issue(self, signing: SigningAuthority) -> Holder:
        usable = replace(signing, authority=signing.authority.activated(self.world.clock.now()))
        holder = make_svid(authority=usable, now=self.world.clock.now())
        record = certificate(
            holder.svid.serial, authority_id=signing.authority.id, not_after=holder.issued.intent.not_after
        )
        await self.world.change(lambda uow: uow.certificates.add_intents([record]))
        return holder

    async def revoke(self, holder: Holder, reason: Reason = Reason.KEY_COMPROMISE) -> None:
        record = await self.world.store.read(lambda uow: uow.certificates.get(holder.svid.serial))
        await self.world.revoke(record, reason=reason)

    async def post(self, body: bytes, kind: str = "application/ocsp-request") -> httpx.Response:
        return await self.http.post("/ocsp", content=body, headers={"content-type": kind})

    async def ask(self, body: bytes) -> ocsp.OCSPResponse:
        answer = await self.post(body)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/ocsp-response"
        return ocsp.load_der_ocsp_response(answer.content)


def request_for(
    holder: Holder, signing: SigningAuthority, algorithm: hashes.HashAlgorithm | None = None, nonce: bytes | None = None
) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        x509.load_der_x509_certificate(holder.issued.der), signing.certificate, algorithm or hashes.SHA256()
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    clock = RealTime()
    store: Store = open_store(database_url, clock=clock, limits=QUICK)
    world = World(store, clock)
    made = Scene(world, None, "", None)  # type: ignore[arg-type]
    policy = OcspPolicy(TRUST_DOMAIN, VALIDITY, timedelta(days=1))
    made.service = OcspService(store, made, Events("test"), policy, lambda: random_serial(os.urandom), clock)
    lists = ServedLists(store, made, Events("test"), clock)
    server: HttpServer = serve_tcp(Starlette(routes=revocation_routes(lists.get, made.service)), "127.0.0.1", 0)
    await server.start()
    try:
        made.url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=made.url, trust_env=False) as made.http:
            yield made
    finally:
        await server.stop(1.0)
        await store.close()


# OpenSSL


async def openssl(*args: str) -> tuple[int, str]:
    assert OPENSSL is not None
    process = await asyncio.create_subprocess_exec(
        OPENSSL, *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl")
@pytest.mark.parametrize("flags", [(), ("-no_nonce",), ("-sha256",)])
async def test_openssl_believes_the_answers(scene: Scene, tmp_path: Path, flags: tuple[str, ...]) -> None:
    signing = await scene.authority()
    good, revoked = await scene.issue(signing), await scene.issue(signing)
    unknown = make_svid(authority=signing, now=scene.world.clock.now())
    await scene.revoke(revoked)
    (tmp_path / "ca.pem").write_bytes(to_pem(signing.authority.certificate))
    files = []
    for name, holder in (("good", good), ("revoked", revoked), ("unknown", unknown)):
        (tmp_path / f"{name}.pem").write_bytes(to_pem(holder.issued.der))
        files += ["-cert", str(tmp_path / f"{name}.pem")]
    ca = str(tmp_path / "ca.pem")
    digest = [flag for flag in flags if flag == "-sha256"]
    others = [flag for flag in flags if flag != "-sha256"]
    status, out = await openssl(
        "ocsp", *digest, "-issuer", ca, *files, "-CAfile", ca, "-url", f"{scene.url}/ocsp", *others
    )
    assert "Response verify OK" in out, out
    assert f"{tmp_path}/good.pem: good" in out
    assert f"{tmp_path}/revoked.pem: revoked" in out
    assert "Reason: keyCompromise" in out
    assert f"{tmp_path}/unknown.pem: unknown" in out
    assert status == 0
    assert ("WARNING: no nonce" in out) is False


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl")
async def test_openssl_verifies_a_chain_by_the_list_that_is_served(scene: Scene, tmp_path: Path) -> None:
    signing = await scene.authority()
    good, revoked = await scene.issue(signing), await scene.issue(signing)
    await scene.revoke(revoked)
    await scene.world.publisher().ensure()
    ca, crl = tmp_path / "ca.pem", tmp_path / "crl.pem"
    ca.write_bytes(to_pem(signing.authority.certificate))
    served = await scene.http.get(f"/crl/{signing.authority.id}.crl")
    assert served.headers["content-type"] == "application/pkix-crl"
    crl.write_bytes(to_pem(served.content, "X509 CRL"))
    for holder, verdict in ((good, 0), (revoked, 2)):
        leaf = tmp_path / "leaf.pem"
        leaf.write_bytes(to_pem(holder.issued.der))
        status, out = await openssl("verify", "-CAfile", str(ca), "-CRLfile", str(crl), "-crl_check", str(leaf))
        assert status == verdict, out


# The answers


async def test_what_is_good_revoked_and_unknown(scene: Scene) -> None:
    signing = await scene.authority()
    holder = await scene.issue(signing)
    before = await scene.ask(request_for(holder, signing, nonce=b"n" * 32))
    assert before.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert before.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    assert before.next_update_utc is not None
    assert before.next_update_utc - before.this_update_utc == VALIDITY
    await scene.revoke(holder, Reason.SUPERSEDED)
    after = await scene.ask(request_for(holder, signing))
    assert after.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert after.revocation_reason is x509.ReasonFlags.superseded
    stranger = make_svid(authority=signing, now=scene.world.clock.now())
    assert (await scene.ask(request_for(stranger, signing))).certificate_status is ocsp.OCSPCertStatus.UNKNOWN


async def test_issuers_that_are_not_ours_get_no_signature(scene: Scene) -> None:
    await scene.authority()
    foreign = make_authority()
    answer = await scene.ask(request_for(make_svid(authority=foreign), foreign))
    assert answer.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


async def test_each_authority_certifies_the_same_key_once(scene: Scene) -> None:
    first, second = await scene.authority(AuthorityState.OLD), await scene.authority()
    answers = []
    for signing in (first, second):
        holder = await scene.issue(signing)
        answers += [await scene.ask(request_for(holder, signing)) for _ in range(2)]
    certificates = [answer.certificates[0] for answer in answers]
    assert [c.serial_number for c in certificates[:2]] == [certificates[0].serial_number] * 2
    assert certificates[0].serial_number != certificates[2].serial_number
    assert certificates[0].public_key() == certificates[2].public_key()
    certificates[0].verify_directly_issued_by(first.certificate)
    certificates[2].verify_directly_issued_by(second.certificate)
    events = await scene.world.events("certificate.issue")
    assert [event.details["profile"] for event in events] == ["ocsp", "ocsp"]
    stored = await scene.world.store.read(lambda uow: uow.certificates.get(f"{certificates[0].serial_number:x}"))
    assert stored.der == certificates[0].public_bytes(Encoding.DER)
    assert stored.profile == "ocsp"


async def test_a_responder_is_certified_anew_at_half_of_its_life(scene: Scene) -> None:
    signing = await scene.authority()
    holder = await scene.issue(signing)
    before = (await scene.ask(request_for(holder, signing))).certificates[0]
    scene.world.clock.advance(13 * 3600)
    after = (await scene.ask(request_for(holder, signing))).certificates[0]
    assert before.serial_number != after.serial_number
    scene.world.clock.advance(13 * 3600)
    scene.world.away.add(signing.authority.id)  # the key is away: what stands is used to its end
    assert (await scene.ask(request_for(holder, signing))).certificates[0] == after
    scene.world.clock.advance(13 * 3600)
    answer = await scene.ask(request_for(holder, signing))
    assert answer.response_status is ocsp.OCSPResponseStatus.TRY_LATER


async def test_tainted_authorities_answer_and_revoked_ones_have_revoked_all(scene: Scene) -> None:
    signing = await scene.authority()
    holder = await scene.issue(signing)
    tainted = replace(signing.authority, tainted=True)
    scene.authorities = [replace(signing, authority=tainted)]
    assert (await scene.ask(request_for(holder, signing))).certificate_status is ocsp.OCSPCertStatus.GOOD
    scene.authorities = [replace(signing, authority=replace(tainted, revoked=True))]
    answer = await scene.ask(request_for(holder, signing))
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert answer.revocation_reason is x509.ReasonFlags.ca_compromise


async def test_a_serial_of_another_authority_is_unknown(scene: Scene) -> None:
    """Serials are unique here; a request that joins one to another issuer is nobody's."""
    first, second = await scene.authority(AuthorityState.OLD), await scene.authority()
    holder = await scene.issue(first)
    await scene.revoke(holder)
    issuer = IssuerHashes.of_certificate(second.authority.id, second.authority.certificate)
    name_hash, key_hash = issuer.hashes["sha256"]
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name_hash, key_hash, int(holder.svid.serial, 16), hashes.SHA256()
    )
    answer = await scene.ask(builder.build().public_bytes(Encoding.DER))
    assert answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN


@pytest.mark.parametrize("body", [b"", b"\x30\x00", b"noise" * 100, b"\x30" * 20_000])
async def test_hostile_requests_are_malformed(scene: Scene, body: bytes) -> None:
    await scene.authority()
    answer = await scene.ask(body)
    assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    path = quote(base64.b64encode(body[:3000]).decode(), safe="")
    got = await scene.http.get(f"/ocsp/{path}")
    assert ocsp.load_der_ocsp_response(got.content).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert got.headers["cache-control"] == "no-store"


async def test_other_bodies_are_not_looked_at(scene: Scene) -> None:
    signing = await scene.authority()
    holder = await scene.issue(signing)
    assert (await scene.post(request_for(holder, signing), "application/json")).status_code == 415
    assert (await scene.http.put("/ocsp", content=b"")).status_code == 405


async def test_a_get_may_be_kept_by_caches_until_it_holds_no_more(scene: Scene) -> None:
    """RFC 5019 section 6.2."""
    signing = await scene.authority()
    holder = await scene.issue(signing)
    for path in (quote(base64.b64encode(request_for(holder, signing)).decode(), safe=""), _plain(holder, signing)):
        got = await scene.http.get(f"/ocsp/{path}")
        read = ocsp.load_der_ocsp_response(got.content)
        assert read.certificate_status is ocsp.OCSPCertStatus.GOOD
        seconds = int(VALIDITY.total_seconds())
        assert got.headers["cache-control"] == f"max-age={seconds}, public, no-transform, must-revalidate"
        assert parsedate_to_datetime(got.headers["last-modified"]) == read.this_update_utc
        assert parsedate_to_datetime(got.headers["expires"]) == read.next_update_utc
        assert got.headers["etag"]
    nonced = quote(base64.b64encode(request_for(holder, signing, nonce=b"1" * 16)).decode(), safe="")
    assert (await scene.http.get(f"/ocsp/{nonced}")).headers["cache-control"] == "no-store"


def _plain(holder: Holder, signing: SigningAuthority) -> str:
    return base64.b64encode(request_for(holder, signing)).decode()


async def test_a_list_is_served_though_nothing_was_revoked_and_tells_when_it_is_old(scene: Scene) -> None:
    signing = await scene.authority()
    first = await scene.http.get(f"/crl/{signing.authority.id}")
    crl = parse_crl(first.content)
    assert (crl.serials, crl.issuer_key_id) == (frozenset(), signing.authority.id)
    assert crl.signed_by(signing.authority.certificate)
    again = await scene.http.get(f"/crl/{signing.authority.id}", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert len(await scene.world.events("crl.serve")) == 1
    assert await scene.world.lists() == {}
    holder = await scene.issue(signing)
    await scene.revoke(holder)
    await scene.world.publisher().ensure()
    after = await scene.http.get(f"/crl/{signing.authority.id}", headers={"if-none-match": first.headers["etag"]})
    listed = parse_crl(after.content)
    assert listed.serials == {holder.svid.serial}
    assert listed.number > crl.number
    for unknown in ("ab" * 20, "..%2f..%2fetc", "x", "A" * 40):
        assert (await scene.http.get(f"/crl/{unknown}")).status_code == 404
