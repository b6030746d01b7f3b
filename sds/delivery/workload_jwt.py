"""The JWT-SVID profile's messages (SPIFFE Workload API, section 6): requests read, answers made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from attestation.entry import RegistrationEntry
from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId
from ca.errors import InvalidJwtSvid, IssuanceRefused
from ca.jwt_svid import check_audience
from sds._pb.spiffe.workload import workload_pb2
from sds.delivery.errors import InvalidRequest, NoIdentity
from sds.delivery.messages import NO_IDENTITY
from sds.delivery.resource import VERSION_HEX_DIGITS
from sds.delivery.tokens import Tokens
from sds.delivery.view import Bundles, DomainBundle, View
from sds.delivery.workload_messages import Message, Part

_NO_KEYS = b'{"keys":[]}'

M = TypeVar("M", bound=Protobuf)


@dataclass(frozen=True, slots=True)
class JwtOrder:
    """A FetchJWTSVID request. Without `spiffe_id` it is for every identity of the caller."""

    audience: tuple[str, ...]
    spiffe_id: SpiffeId | None


@dataclass(frozen=True, slots=True)
class JwtQuestion:
    """A ValidateJWTSVID request."""

    audience: str
    unverified_token: str


def read_order(raw: bytes) -> JwtOrder:
    """Section 6.2.1: an audience is mandatory. Raises InvalidRequest."""
    request = _parse(workload_pb2.JWTSVIDRequest, raw)
    try:
        audience = check_audience(tuple(request.audience))
        spiffe_id = SpiffeId.parse(request.spiffe_id) if request.spiffe_id else None
    except (IssuanceRefused, InvalidSpiffeId) as error:
        raise InvalidRequest(str(error)) from None
    return JwtOrder(audience, spiffe_id)


def read_question(raw: bytes) -> JwtQuestion:
    """Section 6.2.3: both fields are mandatory. Raises InvalidRequest."""
    request = _parse(workload_pb2.ValidateJWTSVIDRequest, raw)
    if not request.audience or not request.svid:
        raise InvalidRequest("an audience and a JWT-SVID are needed")
    return JwtQuestion(request.audience, request.svid)


def check_bundles_request(raw: bytes) -> None:
    """Section 6.2.2: it is empty so far. Raises InvalidRequest."""
    _parse(workload_pb2.JWTBundlesRequest, raw)


async def answer_order(order: JwtOrder, entries: Sequence[RegistrationEntry], tokens: Tokens) -> bytes:
    """A JWTSVIDResponse: one token for each identity, the default one first (section 6.2.1).

    Several entries may grant one SPIFFE ID; the first of them does. Raises NoIdentity, or what `tokens` raises.
    """
    chosen: dict[SpiffeId, RegistrationEntry] = {}
    for entry in entries:
        if order.spiffe_id in (None, entry.spiffe_id):
            chosen.setdefault(entry.spiffe_id, entry)
    if not chosen:
        raise NoIdentity(NO_IDENTITY if not entries else "no entry gives this caller the SPIFFE ID that it asks for")
    granted = tuple(chosen.values())
    made = await tokens.fetch(granted, order.audience)
    hints = _unique_hints([entry.spec.hint for entry in granted])
    response = workload_pb2.JWTSVIDResponse(
        svids=[
            workload_pb2.JWTSVID(spiffe_id=str(one.spiffe_id), svid=one.token.reveal(), hint=hint)
            for one, hint in zip(made, hints, strict=True)
        ]
    )
    payload: bytes = response.SerializeToString()
    return payload


def answer_question(question: JwtQuestion, entries: Sequence[RegistrationEntry], tokens: Tokens) -> bytes:
    """A ValidateJWTSVIDResponse with all claims (section 6.2.3). Raises InvalidRequest for what is not believed."""
    try:
        svid = tokens.validate(entries, question.unverified_token, question.audience)
    except InvalidJwtSvid as refusal:
        raise InvalidRequest(str(refusal)) from None
    response = workload_pb2.ValidateJWTSVIDResponse(spiffe_id=str(svid.spiffe_id))
    response.claims.update(svid.claims)
    payload: bytes = response.SerializeToString()
    return payload


class JwtBundleEncoder:
    """Encodes each set of bundles once for as long as it lives."""

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages: WeakKeyDictionary[Bundles, Message] = WeakKeyDictionary()

    def __len__(self) -> int:
        """How many encodings are held."""
        return len(self._messages)

    def bundles(self, view: View) -> Message | None:
        """A JWTBundlesResponse (section 6.2.2). None for a caller without an identity, and while our own is missing."""
        bundles = view.bundles
        if not view or bundles is None or not bundles.own.pem:
            return None
        message = self._messages.get(bundles)
        if message is None:
            message = self._messages[bundles] = _message((bundles.own, *bundles.federated))
        return message


def _message(bundles: Sequence[DomainBundle]) -> Message:
    own, *federated = bundles
    known = {str(own.trust_domain.id): own.jwks or _NO_KEYS}
    known |= {str(bundle.trust_domain.id): bundle.jwks for bundle in federated if bundle.jwks}
    payload: bytes = workload_pb2.JWTBundlesResponse(bundles=known).SerializeToString(deterministic=True)
    parts = [Part(name, sha256(jwks).hexdigest()[:VERSION_HEX_DIGITS]) for name, jwks in known.items()]
    return Message(payload, sha256(payload).digest(), tuple(parts))


def _unique_hints(hints: Sequence[str]) -> list[str]:
    """Section 6.2.1: a hint is unique within a response; the first identity keeps it and the later ones go without."""
    seen = {""}
    unique = []
    for hint in hints:
        unique.append("" if hint in seen else hint)
        seen.add(hint)
    return unique


def _parse(kind: type[M], raw: bytes) -> M:
    """Fields of later versions are passed over. Raises InvalidRequest."""
    message = kind()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise InvalidRequest(f"the message is not a {kind.DESCRIPTOR.name}") from None
    return message
