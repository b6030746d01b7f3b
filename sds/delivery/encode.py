"""Resources to Envoy's bytes. Each is encoded once; all streams share the bytes and add only their nonce.

A protobuf message is the concatenation of its fields in any order, so a response is a prefix with everything but the
nonce, and the nonce field behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from weakref import WeakKeyDictionary, WeakValueDictionary

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import SPIFFECertValidatorConfig
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from sds.delivery.messages import SECRET_TYPE
from sds.delivery.resource import (
    VERSION_HEX_DIGITS,
    Content,
    GenericSecret,
    Resource,
    SpiffeValidator,
    TicketKeys,
    TlsCertificate,
    TrustedCa,
)

SPIFFE_VALIDATOR = "envoy.tls.cert_validator.spiffe"
_NONCE_TAG = b"\x2a"  # field 5, length-delimited: `nonce` in DiscoveryResponse and in DeltaDiscoveryResponse alike
_MAX_ONE_BYTE = 0x7F


class Encoded:
    """The bytes of one content under one name, made when a protocol first needs them."""

    __slots__ = ("__weakref__", "_delta", "_sotw")

    def __init__(self) -> None:
        self._sotw = b""
        self._delta = b""

    def sotw(self, resource: Resource) -> bytes:
        """A DiscoveryResponse without nonce."""
        if not self._sotw:
            self._sotw = discovery_pb2.DiscoveryResponse(
                version_info=resource.version, resources=[_packed(resource)], type_url=SECRET_TYPE
            ).SerializeToString()
        return self._sotw

    def delta(self, resource: Resource) -> bytes:
        """A DeltaDiscoveryResponse without nonce."""
        if not self._delta:
            item = discovery_pb2.Resource(name=resource.name, version=resource.version, resource=_packed(resource))
            self._delta = discovery_pb2.DeltaDiscoveryResponse(
                system_version_info=resource.version, resources=[item], type_url=SECRET_TYPE
            ).SerializeToString()
        return self._delta


class Encoder:
    """Encodes a resource once, for as long as it lives.

    Equal resources of different views share one encoding, by name and full digest. Nothing here keeps a resource
    alive: when the last view with it is gone, its bytes, and the key in them, are gone too. So the cache is as large as
    the views that are in use, and no larger.
    """

    __slots__ = ("_by_content", "_by_resource")

    def __init__(self) -> None:
        self._by_resource: WeakKeyDictionary[Resource, Encoded] = WeakKeyDictionary()
        self._by_content: WeakValueDictionary[tuple[str, bytes], Encoded] = WeakValueDictionary()

    def __len__(self) -> int:
        """How many encodings are held."""
        return len(self._by_content)

    def sotw(self, resource: Resource, nonce: str) -> bytes:
        """A whole DiscoveryResponse."""
        return self._encoded(resource).sotw(resource) + _nonce_field(nonce)

    def delta(self, name: str, resource: Resource | None, nonce: str) -> bytes:
        """A whole DeltaDiscoveryResponse; without a resource it says that `name` is no more."""
        if resource is None:
            gone = discovery_pb2.DeltaDiscoveryResponse(type_url=SECRET_TYPE, removed_resources=[name], nonce=nonce)
            return bytes(gone.SerializeToString())
        return self._encoded(resource).delta(resource) + _nonce_field(nonce)

    def fetch(self, resources: Sequence[Resource]) -> bytes:
        """The answer to a unary fetch: all `resources` (at least one), no nonce."""
        if len(resources) == 1:
            return self._encoded(resources[0]).sotw(resources[0])
        versions = sha256("".join(resource.version for resource in resources).encode()).hexdigest()
        answer = discovery_pb2.DiscoveryResponse(
            version_info=versions[:VERSION_HEX_DIGITS],
            resources=[_packed(resource) for resource in resources],
            type_url=SECRET_TYPE,
        )
        return bytes(answer.SerializeToString())

    def _encoded(self, resource: Resource) -> Encoded:
        encoded = self._by_resource.get(resource)
        if encoded is None:
            key = (resource.name, resource.digest)
            encoded = self._by_content.get(key)
            if encoded is None:
                encoded = self._by_content[key] = Encoded()
            self._by_resource[resource] = encoded
        return encoded


def encode_secret(name: str, content: Content) -> bytes:
    """Envoy's Secret. All data is `inline_bytes`: MOSN reads nothing else."""
    match content:
        case TlsCertificate():
            certificate = common_pb2.TlsCertificate(
                certificate_chain=_inline(content.chain_pem), private_key=_inline(content.private_key_pem.reveal())
            )
            if content.ocsp_staple:
                certificate.ocsp_staple.CopyFrom(_inline(content.ocsp_staple))
            secret = secret_pb2.Secret(name=name, tls_certificate=certificate)
        case TrustedCa():
            secret = secret_pb2.Secret(name=name, validation_context=_plain_context(content))
        case SpiffeValidator():
            secret = secret_pb2.Secret(name=name, validation_context=_spiffe_context(content))
        case TicketKeys():
            keys = common_pb2.TlsSessionTicketKeys(keys=[_inline(key.reveal()) for key in content.keys])
            secret = secret_pb2.Secret(name=name, session_ticket_keys=keys)
        case GenericSecret():
            secret = secret_pb2.Secret(name=name, generic_secret=_generic(content))
    encoded: bytes = secret.SerializeToString(deterministic=True)
    return encoded


def _packed(resource: Resource) -> AnyMessage:
    return AnyMessage(type_url=SECRET_TYPE, value=encode_secret(resource.name, resource.content))


def _inline(value: bytes) -> DataSource:
    return DataSource(inline_bytes=value)


def _plain_context(content: TrustedCa) -> common_pb2.CertificateValidationContext:
    """By default Envoy wants a CRL of every issuer in a chain; there is none by a root, nor by an upstream's."""
    context = common_pb2.CertificateValidationContext(trusted_ca=_inline(content.pem))
    if content.crl_pem:
        context.crl.CopyFrom(_inline(content.crl_pem))
        context.only_verify_leaf_cert_crl = True
    return context


def _spiffe_context(content: SpiffeValidator) -> common_pb2.CertificateValidationContext:
    domains = [
        SPIFFECertValidatorConfig.TrustDomain(name=name, trust_bundle=_inline(pem)) for name, pem in content.bundles
    ]
    config = AnyMessage()
    config.Pack(SPIFFECertValidatorConfig(trust_domains=domains))
    return common_pb2.CertificateValidationContext(
        custom_validator_config=TypedExtensionConfig(name=SPIFFE_VALIDATOR, typed_config=config)
    )


def _generic(content: GenericSecret) -> secret_pb2.GenericSecret:
    message = secret_pb2.GenericSecret()
    for key, value in content.values:
        target = message.secrets[key] if key else message.secret
        target.inline_bytes = value.reveal()
    return message


def _nonce_field(nonce: str) -> bytes:
    value = nonce.encode()
    if len(value) > _MAX_ONE_BYTE:
        raise ValueError("a nonce is at most 127 bytes")
    return b"%b%c%b" % (_NONCE_TAG, len(value), value)
