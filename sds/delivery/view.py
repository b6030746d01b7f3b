"""What one caller may have, frozen: which resource stands behind each name it can ask for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.delivery.messages import NO_CERTIFICATE, NO_IDENTITY, NOT_GRANTED
from sds.delivery.resource import Resource, SpiffeValidator, TlsCertificate, TrustedCa, make_resource
from sds.delivery.secret_name import may_be_secret

TOLERATED_PREFIXES = ("file-cert:", "file-root:")
"""pilot-agent asks for these beside the real names and expects no answer; they are unknown names without an alarm."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that stand for a role rather than for an identity. Each role may have several."""

    default: tuple[str, ...] = ("default",)  # the caller's first identity
    root: tuple[str, ...] = ("ROOTCA",)  # the bundle of our own trust domain
    all: tuple[str, ...] = ("ALL",)  # every bundle, for Envoy's SPIFFE validator

    def has(self, name: str) -> bool:
        """Whether `name` is one of them."""
        return name in self.default or name in self.root or name in self.all


STANDARD_NAMES = Names()


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A SPIFFE ID that a caller owns, with its current certificate. Digested once: keep the object while it lasts."""

    spiffe_id: SpiffeId
    certificate: TlsCertificate = field(repr=False)
    resource: Resource = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resource", make_resource(str(self.spiffe_id), self.certificate))


@dataclass(frozen=True, slots=True)
class DomainBundle:
    """One trust domain's X.509 authorities and their CRLs as PEM; its JWT authorities as a JWK Set (RFC 7517).

    `sequence` is the bundle's own. Of CRLs there is none, or one of each authority that issues.
    """

    trust_domain: TrustDomain
    pem: bytes = field(repr=False)
    crl_pem: bytes = field(default=b"", repr=False)
    sequence: int = 0
    jwks: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Bundles:
    """The bundles themselves: of our own trust domain, and of those it is federated with.

    Each of these has X.509 authorities, or JWT authorities, or both.
    """

    own: DomainBundle
    federated: tuple[DomainBundle, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """The validation contexts by name, plain and for the SPIFFE validator. Shared by views of the same federation.

    `nobody` (PEM): an authority that vouches for nobody, for those who must not trust a trust domain any more.
    """

    names: Names
    bundles: Bundles
    plain: Mapping[str, Resource] = field(repr=False)
    spiffe: Mapping[str, Resource] = field(repr=False)
    nobody: bytes = field(default=b"", repr=False)

    @classmethod
    def build(
        cls,
        own: DomainBundle,
        federated: Sequence[DomainBundle] = (),
        names: Names = STANDARD_NAMES,
        nobody: bytes = b"",
    ) -> Trust:
        """Contexts for our own trust domain, the federated ones, and all together. An empty bundle names nothing."""
        bundles = sorted(
            [own, *(b for b in federated if b.trust_domain != own.trust_domain)], key=lambda b: b.trust_domain
        )
        filled = [bundle for bundle in bundles if bundle.pem]
        plain: dict[str, Resource] = {}
        spiffe: dict[str, Resource] = {}
        for bundle in filled:
            aliases = (*names.root, str(bundle.trust_domain.id)) if bundle is own else (str(bundle.trust_domain.id),)
            sequence = own.sequence if bundle is own else 0
            _put(plain, aliases, TrustedCa(bundle.pem, bundle.crl_pem), sequence)
            # Envoy's SPIFFE validator knows no CRLs.
            _put(spiffe, aliases, SpiffeValidator(((bundle.trust_domain.name, bundle.pem),)), sequence)
        if filled:
            everything = SpiffeValidator(tuple((b.trust_domain.name, b.pem) for b in filled))
            sequence = own.sequence if own.pem else 0
            _put(plain, names.all, everything, sequence)
            _put(spiffe, names.all, everything, sequence)
        others = tuple(b for b in bundles if b is not own and (b.pem or b.jwks))
        return cls(names, Bundles(own, others), MappingProxyType(plain), MappingProxyType(spiffe), nobody)


@dataclass(frozen=True, slots=True, eq=False)
class Granted:
    """An identity as one of a caller's entries grants it; `hint` says what the operator means it for."""

    identity: Identity
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there is nothing to give under the name of a secret. `kept`: who has a value of before keeps it."""

    reason: str
    kept: bool = False


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class View:
    """Everything a caller may have. Of one name an identity comes before a bundle, and both before a granted secret.

    `granted` has every identity, the default one first if `has_default`; two may have the same SPIFFE ID. `matched`: an
    entry matches the caller, whether or not there is a certificate.
    """

    spiffe_ids: tuple[str, ...] = ()
    granted: tuple[Granted, ...] = field(default=(), repr=False)
    bundles: Bundles | None = field(default=None, repr=False)
    has_default: bool = False
    _certificates: Mapping[str, Resource] = field(default_factory=dict, repr=False)
    _plain: Mapping[str, Resource] = field(default_factory=dict, repr=False)
    _spiffe: Mapping[str, Resource] = field(default_factory=dict, repr=False)
    _secrets: Mapping[str, Resource] = field(default_factory=dict, repr=False)
    _nobody: bytes = field(default=b"", repr=False)
    matched: bool = True
    _absent: Mapping[str, Absence] | None = field(default=None, repr=False)
    _roles: Names = STANDARD_NAMES

    @classmethod
    def build(
        cls,
        identities: Sequence[Identity],
        trust: Trust,
        secrets: Iterable[Resource] = (),
        *,
        hints: Sequence[str] = (),
        has_default: bool = True,
        absent: Mapping[str, Absence] | None = None,
    ) -> View:
        """What a caller with `identities` may have, the default one first. No identity: nothing at all (fail closed).

        Of two identities with one SPIFFE ID the first counts. `hints` are those of the identities, in their order.
        Without `has_default` the default one is missing among them, and no other stands in for it. `absent`: the names
        of secrets of which it is known that there is nothing to give; None: `secrets` are all that there can be.
        """
        if not identities:
            return EMPTY
        certificates: dict[str, Resource] = {}
        for identity in identities:
            certificates.setdefault(identity.resource.name, identity.resource)
        owned = tuple(certificates)
        for alias in trust.names.default if has_default else ():
            certificates.setdefault(alias, identities[0].resource.renamed(alias))
        granted = {secret.name: secret for secret in secrets}
        hinted = tuple(map(Granted, identities, hints or ("",) * len(identities)))
        return cls(
            spiffe_ids=owned,
            granted=hinted,
            bundles=trust.bundles,
            has_default=has_default,
            _certificates=certificates,
            _plain=trust.plain,
            _spiffe=trust.spiffe,
            _secrets=granted,
            _nobody=trust.nobody,
            _absent=absent,
            _roles=trust.names,
        )

    def resolve(self, name: str, *, spiffe_validator: bool = False) -> Resource | None:
        """What `name` stands for, or None. `spiffe_validator` asks for bundles in that form instead of plain CAs."""
        trust = self._spiffe if spiffe_validator else self._plain
        return self._certificates.get(name) or trust.get(name) or self._secrets.get(name)

    def withdrawn(self, name: str, *, spiffe_validator: bool = False) -> Resource | None:
        """For who holds something under a `name` that resolves to nothing any more: what takes its place, or None.

        Of a trust domain's bundle that is a context by which nobody is trusted. A client without an identity keeps
        what it has: it can't show a certificate either once its own has expired.
        """
        domain = _trust_domain(name) if self._nobody and self else None
        if domain is None:
            return None
        plain, validator = TrustedCa(self._nobody), SpiffeValidator(((domain.name, self._nobody),))
        return make_resource(name, validator if spiffe_validator else plain)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that resolve, sorted."""
        return tuple(sorted({*self._certificates, *self._plain, *self._secrets}))

    def awaits(self, name: str) -> bool:
        """Whether it is not known yet what is under a `name` that resolves to nothing: it could be a secret's."""
        absent = self._absent
        return absent is not None and name not in absent and may_be_secret(name) and not self._roles.has(name)

    def keeps(self, name: str) -> bool:
        """Whether who has something under a `name` that resolves to nothing is not told that it is no more."""
        absence = self._absent.get(name) if self._absent else None
        return absence is not None and absence.kept

    def why(self, name: str) -> str:
        """Why `name` resolves to nothing."""
        absence = self._absent.get(name) if self._absent else None
        return self.refusal if absence is None else absence.reason

    @property
    def refusal(self) -> str:
        """Why a name that nothing is known of resolves to nothing."""
        if self:
            return NOT_GRANTED
        return NO_CERTIFICATE if self.matched else NO_IDENTITY

    def __bool__(self) -> bool:
        """Whether the caller has an identity."""
        return bool(self.spiffe_ids)


EMPTY = View(matched=False)
"""The view of a caller that no entry matches."""

WAITING = View()
"""The view of a caller that an entry matches, and that has no certificate: not yet, or not any more."""


def tolerated(name: str) -> bool:
    """Whether `name` is asked for out of habit and not worth an alarm when it is unknown."""
    return name.startswith(TOLERATED_PREFIXES)


def _trust_domain(name: str) -> TrustDomain | None:
    """The trust domain whose ID `name` is; None for any other name."""
    try:
        found = SpiffeId.parse(name)
    except InvalidSpiffeId:
        return None
    return None if found.path else found.trust_domain


def _put(into: dict[str, Resource], names: Sequence[str], content: TrustedCa | SpiffeValidator, sequence: int) -> None:
    if names:
        first = make_resource(names[0], content, sequence)
        into.update({name: first if name == names[0] else first.renamed(name) for name in names})
