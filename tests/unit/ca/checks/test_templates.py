"""The judge of templates: whoever gets one thing wrong signs nothing."""

from __future__ import annotations

import pytest

from attestation.spiffe_id import SpiffeId
from ca.checks import check_template
from ca.csr import LeafKey, VerifiedCsr
from ca.errors import CertificateMismatch
from ca.lifetime import Validity
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import Addresses, Usage
from ca.profile import Profile
from ca.template import LeafNames, LeafTemplate, ToBeSigned
from tests.fakes.ca import make_authority
from tests.unit.ca.checks.kit import AUTHORITY, CSR, ID, PLAIN, SECOND

FULL = Profile(
    "full",
    names=NameLimits(email=("example.org",)),
    subject=SubjectLimits(allowed={"CN": 64}),
    usage=Usage(key_agreement=True, purposes=("1.3.6.1.5.5.7.3.4",)),
    addresses=Addresses(("http://a/{authority}.crl",), ("http://a/ocsp",), ("http://a/ca.cer",)),
)
Texts = tuple[str, ...]


class Template(LeafTemplate):
    """A sound template, of which each class below gets one thing wrong."""


class NoDnsNames(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names[1:], extra_sans, subject, key=key)


class NoExtraNames(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names, (), subject, key=key)


class NoSubject(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names, extra_sans, key=key)


class OneName(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(ID, dns_names, extra_sans, subject, key=key)


class WrongUsage(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names, extra_sans, subject, key=LeafKey.ED25519)


class WrongPeriod(Template):
    def period(self, validity: Validity) -> bytes:
        return super().period(Validity(validity.not_before, validity.not_after - SECOND))


class OneSerial(Template):
    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        return LeafTemplate.fill(b"\x02\x01\x01", period, csr, names)


class OneKey(Template):
    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        return LeafTemplate.fill(serial, period, CSR, names)


class OneKeyIdentifier(Template):
    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        return LeafTemplate.fill(serial, period, csr._replace(key_hash=CSR.key_hash), names)


class WrongLength(Template):
    """Miscounts only what is long."""

    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        made = LeafTemplate.fill(serial, period, csr, names)
        return made if len(made) < 5000 else ToBeSigned(made[:3] + bytes([made[3] ^ 1]) + made[4:])


def test_a_sound_template_passes() -> None:
    for profile in (PLAIN, FULL):
        check_template(Template(AUTHORITY, profile), AUTHORITY, profile)
    with pytest.raises(CertificateMismatch):
        check_template(Template(AUTHORITY, FULL), AUTHORITY, PLAIN)


@pytest.mark.parametrize("kind", Template.__subclasses__())
def test_a_template_that_gets_one_thing_wrong_is_found(kind: type[Template]) -> None:
    with pytest.raises(CertificateMismatch):
        check_template(kind(AUTHORITY, PLAIN), AUTHORITY, PLAIN)


def test_a_template_of_another_authority_is_found() -> None:
    with pytest.raises(CertificateMismatch, match="issuer"):
        check_template(LeafTemplate(make_authority(), PLAIN), AUTHORITY, PLAIN)
