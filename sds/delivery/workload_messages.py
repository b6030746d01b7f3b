"""Views to the messages of the SPIFFE Workload API. Each is encoded once; all streams share the bytes.

SPIFFE Workload API, section 5. Every message is all there is, and everything in it is DER.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError

from sds._pb.spiffe.workload import workload_pb2
from sds.delivery.errors import InvalidRequest
from sds.delivery.view import Bundles, DomainBundle, Granted, View

_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END [A-Z0-9 ]+-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """Something in a message that has a version of its own: an identity's certificate, or a bundle."""

    name: str
    version: str
    serial: str = ""
    sequence: int = 0  # of our own bundle, where it is that


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One response. `digest` covers every byte, private keys too, and stays inside the process."""

    payload: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    parts: tuple[Part, ...]


class WorkloadEncoder:
    """Encodes each view, and each set of bundles, once for as long as it lives; nothing here keeps either alive."""

    __slots__ = ("_bundles", "_svids")

    def __init__(self) -> None:
        self._svids: WeakKeyDictionary[View, Message] = WeakKeyDictionary()
        self._bundles: WeakKeyDictionary[Bundles, Message] = WeakKeyDictionary()

    def __len__(self) -> int:
        """How many encodings are held."""
        return len(self._svids) + len(self._bundles)

    def svids(self, view: View) -> Message | None:
        """An X509SVIDResponse. None while the default identity, which comes first, or the bundle is missing.

        Clients take the first SVID for the default: without it another identity would stand in for it.
        """
        if not view.granted or not view.has_default or view.bundles is None or not view.bundles.own.pem:
            return None
        message = self._svids.get(view)
        if message is None:
            message = self._svids[view] = _svids(view.granted, view.bundles, self._bundle_parts(view, view.bundles))
        return message

    def bundles(self, view: View) -> Message | None:
        """An X509BundlesResponse. None for a caller without an identity, and while our own bundle is missing."""
        bundles = view.bundles
        if not view or bundles is None or not bundles.own.pem:
            return None
        message = self._bundles.get(bundles)
        if message is None:
            everything = {name: _der(bundle.pem) for name, bundle in _by_id(bundles).items()}
            response = workload_pb2.X509BundlesResponse(crl=_blocks(bundles.own.crl_pem), bundles=everything)
            message = self._bundles[bundles] = _message(response, self._bundle_parts(view, bundles))
        return message

    def _bundle_parts(self, view: View, bundles: Bundles) -> tuple[Part, ...]:
        """Under the versions that SDS has them by."""
        found = ((name, view.resolve(name)) for name in _by_id(bundles))
        return tuple(Part(name, r.version, sequence=r.sequence) for name, r in found if r is not None)


def check_request(raw: bytes, *, bundles: bool) -> None:
    """Both requests are empty so far; fields of later versions are passed over. Raises InvalidRequest."""
    kind = workload_pb2.X509BundlesRequest if bundles else workload_pb2.X509SVIDRequest
    try:
        kind.FromString(raw)
    except DecodeError:
        raise InvalidRequest(f"the message is not an {kind.DESCRIPTOR.name}") from None


def _svids(granted: tuple[Granted, ...], bundles: Bundles, bundle_parts: tuple[Part, ...]) -> Message:
    own = _der(bundles.own.pem)
    response = workload_pb2.X509SVIDResponse(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id=str(one.identity.spiffe_id),
                x509_svid=_der(one.identity.certificate.chain_pem),
                x509_svid_key=_der(one.identity.certificate.private_key_pem.reveal()),
                bundle=own,
                hint=hint,
            )
            for one, hint in _unique_hints(granted)
        ],
        crl=_blocks(bundles.own.crl_pem),
        federated_bundles={str(b.trust_domain.id): _der(b.pem) for b in bundles.federated if b.pem},
    )
    resources = [one.identity.resource for one in granted]
    return _message(response, (*(Part(r.name, r.version, r.serial) for r in resources), *bundle_parts))


def _unique_hints(granted: tuple[Granted, ...]) -> Iterator[tuple[Granted, str]]:
    """Section 5.2.1: a hint is unique within a response, and there is one SVID for each identity.

    So the first identity keeps the hint and the later ones go without, as clients would choose anyway.
    """
    seen = {""}
    for one in granted:
        yield one, "" if one.hint in seen else one.hint
        seen.add(one.hint)


def _by_id(bundles: Bundles) -> Mapping[str, DomainBundle]:
    """Those that have X.509 authorities."""
    return {str(bundle.trust_domain.id): bundle for bundle in (bundles.own, *bundles.federated) if bundle.pem}


def _message(
    response: workload_pb2.X509SVIDResponse | workload_pb2.X509BundlesResponse, parts: tuple[Part, ...]
) -> Message:
    payload: bytes = response.SerializeToString(deterministic=True)
    return Message(payload, sha256(payload).digest(), parts)


def _der(pem: bytes) -> bytes:
    """All PEM blocks one after the other as DER."""
    return b"".join(_blocks(pem))


def _blocks(pem: bytes) -> list[bytes]:
    """Each PEM block (RFC 7468) as DER. They are of our own making, so nothing is judged here."""
    return [base64.b64decode(block) for block in _PEM.findall(pem)]
