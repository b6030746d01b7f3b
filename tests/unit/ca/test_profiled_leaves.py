"""Leaves of any profile, for any entry that fits it: octet by octet what `CertificateBuilder` would have made.

The authority's key is Ed25519, whose signatures are the same each time, so whole certificates are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId
from attestation.subject import Attribute, format_subject
from ca.authority import SigningAuthority
from ca.csr import LeafKey, VerifiedCsr
from ca.intent import IssueRequest
from ca.keys import KeyType, PrivateKey, generate
from ca.lifetime import Validity
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import Addresses, Usage
from ca.profile import IssuancePolicy, Profile
from ca.svid import parse_svid
from tests.fakes.ca import issue_one, make_authority, make_issuer
from tests.fakes.clock import EPOCH
from tests.unit.ca import oracle

AUTHORITY_KEY = generate(KeyType.ED25519)
AUTHORITY = make_authority(key=AUTHORITY_KEY, key_type=KeyType.ED25519)
OIDS = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "UID": NameOID.USER_ID,
}
EVERYTHING = NameLimits(ip=(IPv4Network("0.0.0.0/0"), IPv6Network("::/0")), email=(".example", "example"))

texts = st.text('abcXYZ 0189\u00e4\u00df\u65e5,+=\\"', min_size=1, max_size=64).filter(
    lambda text: text == text.strip()
)
attributes = st.dictionaries(st.sampled_from(["CN", "OU", "O", "L", "ST", "UID"]), texts, max_size=5).map(
    lambda found: tuple(Attribute(*pair) for pair in found.items())
)
urls = st.lists(
    st.sampled_from(["http://a.example/crl", "http://b.example/{authority}", "https://c.example:8443/x?y={authority}"]),
    max_size=3,
    unique=True,
).map(tuple)
purposes = st.lists(
    st.sampled_from(["1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.17", "2.999.1", "1.2.840.113549.1"]), max_size=3, unique=True
).map(tuple)
usages = st.builds(Usage, st.booleans(), st.booleans(), purposes)
addresses = st.builds(Addresses, urls, urls, urls)
names = st.lists(st.sampled_from(["a.example", "*.b.example", "c", "xn--bcher-kva.example"]), max_size=4, unique=True)
extras = st.lists(
    st.one_of(
        st.ip_addresses(v=4).map(lambda ip: f"ip:{ip}"),
        st.ip_addresses(v=6).map(lambda ip: f"ip:{ip}"),
        st.sampled_from(["email:a@example", "email:b+c@d.example"]),
    ),
    max_size=5,
    unique=True,
)


def wanted_name(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    return x509.IPAddress(ip_address(value)) if kind == "ip" else x509.RFC822Name(value)


def wanted_extensions(given: Addresses, authority_id: str) -> tuple[x509.ExtensionType, ...]:
    def uri(url: str) -> x509.UniformResourceIdentifier:
        return x509.UniformResourceIdentifier(url.replace("{authority}", authority_id))

    found: list[x509.ExtensionType] = []
    if given.crl:
        found.append(
            x509.CRLDistributionPoints([x509.DistributionPoint([uri(u)], None, None, None) for u in given.crl])
        )
    access = [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri(u)) for u in given.ocsp]
    access += [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri(u)) for u in given.ca_issuers]
    return (*found, x509.AuthorityInformationAccess(access)) if access else tuple(found)


def wanted_leaf(
    authority: SigningAuthority, made: x509.Certificate, profile: Profile, key: PrivateKey, request: IssueRequest
) -> x509.Certificate:
    """By the builder, from the request and the profile; serial and times are those of the leaf that was made."""
    public_key, usage, fixed = key.public_key(), profile.usage, profile.subject.fixed
    asked = () if not request.subject else x509.Name.from_rfc4514_string(request.subject)
    return oracle.leaf(
        authority,
        AUTHORITY_KEY,
        made.serial_number,
        Validity(made.not_valid_before_utc, made.not_valid_after_utc),
        public_key,
        request.spiffe_id,
        request.dns_names,
        key_encipherment=usage.key_encipherment and isinstance(public_key, rsa.RSAPublicKey),
        more=oracle.More(
            first=None if fixed is None else tuple((OIDS[name], value) for name, value in fixed),
            second=tuple((each.oid, str(each.value)) for each in asked),
            names=tuple(map(wanted_name, request.extra_sans)),
            purposes=tuple(map(x509.ObjectIdentifier, usage.purposes)),
            extensions=wanted_extensions(profile.addresses, authority.authority.id),
            key_agreement=usage.key_agreement and isinstance(public_key, ec.EllipticCurvePublicKey),
        ),
    )


def fitting(names: list[str], extras: list[str], subject: tuple[Attribute, ...], profile: Profile) -> bool:
    text = format_subject(subject)
    return not list(profile.misfits(tuple(names), tuple(extras), text))


@settings(max_examples=150, deadline=None)
@given(
    usage=usages,
    where=addresses,
    fixed=st.one_of(st.none(), attributes),
    asked=attributes,
    names=names,
    extras=extras,
    key_type=st.sampled_from([kind for kind in LeafKey if kind is not LeafKey.OTHER]),
    path=st.text("abc/", min_size=1, max_size=200).map(lambda text: "/p" + "x".join(text.split("/"))),
)
def test_any_leaf_of_any_profile_is_the_builders(
    keys: Mapping[KeyType, PrivateKey],
    usage: Usage,
    where: Addresses,
    fixed: tuple[Attribute, ...] | None,
    asked: tuple[Attribute, ...],
    names: list[str],
    extras: list[str],
    key_type: LeafKey,
    path: str,
) -> None:
    fixed_names = {"O"} if fixed is None else {each.name for each in fixed}
    asked = tuple(each for each in asked if each.name not in fixed_names)
    allowed = {each.name: len(each.value) for each in asked}
    profile = Profile("any", names=EVERYTHING, subject=SubjectLimits(fixed, allowed), usage=usage, addresses=where)
    extras = [text for text in extras if fitting([], [text], (), profile)]  # no multicast and the like
    key = keys[KeyType(key_type)]
    request = IssueRequest(
        "any",
        SpiffeId(AUTHORITY.authority.trust_domain, path),
        VerifiedCsr.of_own_key(key),
        tuple(names),
        timedelta(minutes=5),
        tuple(extras),
        format_subject(asked),
    )
    issued = issue_one(request, AUTHORITY, EPOCH, make_issuer(IssuancePolicy({"any": profile})))
    made = x509.load_der_x509_certificate(issued.der)
    assert issued.der == wanted_leaf(AUTHORITY, made, profile, key, request).public_bytes(Encoding.DER)
    assert parse_svid(issued.chain).spiffe_id == request.spiffe_id


def test_the_names_of_a_profile_are_in_its_leaves(key: PrivateKey) -> None:
    """The test before compares two makers; this one says what a full certificate is, in plain words."""
    profile = Profile(
        "gateway",
        names=EVERYTHING,
        subject=SubjectLimits((Attribute("C", "DE"), Attribute("O", "Example")), {"CN": 20, "OU": 10}),
        usage=Usage(key_agreement=True, purposes=("1.3.6.1.5.5.7.3.4",)),
        addresses=Addresses(("http://crl.example/{authority}",), ("http://ocsp.example",), ("http://ca.example",)),
    )
    request = IssueRequest(
        "gateway",
        SpiffeId(AUTHORITY.authority.trust_domain, "/web"),
        VerifiedCsr.of_own_key(key),
        ("a.example",),
        None,
        ("ip:10.0.0.1", "email:ops@example"),
        "CN=web,OU=pay",
    )
    issued = issue_one(request, AUTHORITY, EPOCH, make_issuer(IssuancePolicy({"gateway": profile})))
    leaf = x509.load_der_x509_certificate(issued.der)
    shown = leaf.subject.rfc4514_string({NameOID.DN_QUALIFIER: "dnQualifier"})
    assert shown.partition(",")[2] == "CN=web,OU=pay,O=Example,C=DE"
    assert shown.startswith("dnQualifier=")
    get = leaf.extensions.get_extension_for_class
    alternative = get(x509.SubjectAlternativeName).value
    assert list(alternative) == [
        x509.UniformResourceIdentifier("spiffe://example.org/web"),
        x509.DNSName("a.example"),
        x509.IPAddress(ip_address("10.0.0.1")),
        x509.RFC822Name("ops@example"),
    ]
    assert get(x509.KeyUsage).value.key_agreement
    assert [oid.dotted_string for oid in get(x509.ExtendedKeyUsage).value][2:] == ["1.3.6.1.5.5.7.3.4"]
    (point,) = get(x509.CRLDistributionPoints).value
    assert point.full_name == [x509.UniformResourceIdentifier(f"http://crl.example/{AUTHORITY.authority.id}")]
    access = {each.access_method: each.access_location.value for each in get(x509.AuthorityInformationAccess).value}
    assert access == {
        AuthorityInformationAccessOID.OCSP: "http://ocsp.example",
        AuthorityInformationAccessOID.CA_ISSUERS: "http://ca.example",
    }
    intent = issued.intent
    assert (intent.profile, intent.extra_sans, intent.subject) == ("gateway", request.extra_sans, request.subject)
