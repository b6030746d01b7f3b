"""Bytes in and out: what is encoded is what Envoy's own classes read, and what cannot be read is never repeated."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import discovery_pb2 as xds
from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds.delivery.decode import decode_delta, decode_sotw
from sds.delivery.encode import Encoder, encode_secret
from sds.delivery.errors import InvalidRequest
from sds.delivery.messages import SECRET_TYPE, Node
from sds.delivery.resource import GenericSecret, TicketKeys, make_resource
from sds.delivery.text import clean
from sds.delivery.view import View
from tests.fakes.secrets import WEB, certificate, identity, trust, view

NONCE = "run-1.17"


def resolve(name: str = "default", source: View | None = None):
    resource = (source or view()).resolve(name)
    assert resource is not None
    return resource


# Out


def test_a_state_of_the_world_response():
    resource = resolve()
    response = xds.DiscoveryResponse.FromString(Encoder().sotw(resource, NONCE))
    assert (response.version_info, response.nonce, response.type_url) == (resource.version, NONCE, SECRET_TYPE)
    (packed,) = response.resources
    assert packed.type_url == SECRET_TYPE
    secret = Secret.FromString(packed.value)
    assert secret.name == "default"
    assert secret.tls_certificate.certificate_chain.inline_bytes == certificate(label="/web").chain_pem
    assert secret.tls_certificate.private_key.inline_bytes == certificate().private_key_pem.reveal()


def test_an_ocsp_answer_goes_along_where_there_is_one():
    plain = Secret.FromString(encode_secret("default", certificate()))
    assert not plain.tls_certificate.HasField("ocsp_staple")
    stapled = replace(certificate(), ocsp_staple=b"\x30\x03answer")
    secret = Secret.FromString(encode_secret("default", stapled))
    assert secret.tls_certificate.ocsp_staple.inline_bytes == b"\x30\x03answer"
    assert make_resource("default", stapled).version != make_resource("default", certificate()).version


def test_a_delta_response():
    resource = resolve("ROOTCA")
    response = xds.DeltaDiscoveryResponse.FromString(Encoder().delta("ROOTCA", resource, NONCE))
    assert (response.nonce, response.type_url, list(response.removed_resources)) == (NONCE, SECRET_TYPE, [])
    (item,) = response.resources
    assert (item.name, item.version) == ("ROOTCA", resource.version)
    assert Secret.FromString(item.resource.value).validation_context.trusted_ca.inline_bytes


def test_a_delta_removal():
    response = xds.DeltaDiscoveryResponse.FromString(Encoder().delta("a\x00b", None, NONCE))
    assert (list(response.removed_resources), list(response.resources)) == (["a\x00b"], [])
    assert (response.nonce, response.type_url) == (NONCE, SECRET_TYPE)


def test_a_fetch_of_one_and_of_several():
    encoder = Encoder()
    one = xds.DiscoveryResponse.FromString(encoder.fetch([resolve()]))
    assert (one.version_info, one.nonce, len(one.resources)) == (resolve().version, "", 1)
    both = xds.DiscoveryResponse.FromString(encoder.fetch([resolve(), resolve("ROOTCA")]))
    assert [Secret.FromString(packed.value).name for packed in both.resources] == ["default", "ROOTCA"]
    assert both.version_info not in {"", one.version_info}


def test_ticket_keys_and_named_secrets():
    keys = make_resource("tickets", TicketKeys((Masked(b"a" * 80), Masked(b"b" * 80))))
    values = (("", Masked(b"one")), ("user", Masked(b"u")), ("password", Masked(b"p")))
    generic = make_resource("db", GenericSecret(values, "1"))
    encoder = Encoder()
    (first,) = xds.DiscoveryResponse.FromString(encoder.sotw(keys, NONCE)).resources
    assert [key.inline_bytes for key in Secret.FromString(first.value).session_ticket_keys.keys] == [
        b"a" * 80,
        b"b" * 80,
    ]
    (second,) = xds.DiscoveryResponse.FromString(encoder.sotw(generic, NONCE)).resources
    secret = Secret.FromString(second.value).generic_secret
    assert secret.secret.inline_bytes == b"one"
    assert {name: source.inline_bytes for name, source in secret.secrets.items()} == {"user": b"u", "password": b"p"}


def test_equal_resources_of_two_views_share_their_bytes():
    encoder = Encoder()
    first, second = view(), view()
    encoder.sotw(resolve("ROOTCA", first), NONCE)
    encoder.sotw(resolve("ROOTCA", second), NONCE)
    assert len(encoder) == 1
    encoder.delta("default", resolve("default", first), NONCE)
    encoder.delta(str(WEB), resolve(str(WEB), first), NONCE)
    assert len(encoder) == 3, "the name is part of the bytes"


def test_secrets_of_one_name_and_version_but_other_values_never_share_bytes():
    """Two workloads with their own dynamic credentials at revision 1."""
    encoder = Encoder()
    mine, yours = (make_resource("db", GenericSecret((("", Masked(value)),), "1")) for value in (b"mine", b"yours"))
    assert mine.version == yours.version
    assert b"mine" in encoder.sotw(mine, NONCE)
    assert b"mine" not in encoder.sotw(yours, NONCE)


def test_encoded_bytes_go_with_the_last_view_that_has_them():
    encoder = Encoder()
    kept = view(1)
    for generation in range(2, 20):
        source = View.build([identity(WEB, generation)], trust())
        encoder.sotw(resolve("default", source), NONCE)
        encoder.delta("default", resolve("default", source), NONCE)
    encoder.sotw(resolve("default", kept), NONCE)
    del source
    gc.collect()
    assert len(encoder) == 1


def test_a_nonce_that_would_need_a_longer_length_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="127 bytes"):
        Encoder().sotw(resolve(), "n" * 128)
    assert xds.DiscoveryResponse.FromString(Encoder().sotw(resolve(), "n" * 127)).nonce == "n" * 127


# In


def test_a_discovery_request():
    message = xds.DiscoveryRequest(
        version_info="v", resource_names=["a", "b"], type_url=SECRET_TYPE, response_nonce="n", node=NodeMessage(id="i")
    )
    request = decode_sotw(message.SerializeToString())
    assert (request.names, request.nonce, request.error, request.type_url) == (("a", "b"), "n", None, SECRET_TYPE)
    assert request.node == Node("i")


def test_a_delta_request():
    message = xds.DeltaDiscoveryRequest(
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"a": "1"},
        response_nonce="n",
    )
    request = decode_delta(message.SerializeToString())
    assert (request.subscribe, request.unsubscribe, request.nonce) == (("a",), ("b",), "n")
    assert (request.node, request.error, request.type_url) == (None, None, "")


@pytest.mark.parametrize(
    ("text", "shown"), [("bad key", "bad key"), ("", "code 13"), ("a\x1b[0m\r\nb", "a\ufffd[0m\ufffd\ufffdb")]
)
def test_error_detail_is_what_makes_a_nack_and_its_text_is_cleaned(text: str, shown: str):
    message = xds.DiscoveryRequest()
    message.error_detail.code = 13
    message.error_detail.message = text
    assert decode_sotw(message.SerializeToString()).error == shown


def test_even_an_empty_error_detail_is_a_nack():
    message = xds.DiscoveryRequest()
    message.error_detail.SetInParent()
    assert decode_sotw(message.SerializeToString()).error == "code 0"


def test_long_texts_of_the_client_are_cut():
    message = xds.DiscoveryRequest(node=NodeMessage(id="n" * 10_000))
    message.error_detail.message = "e" * 10_000
    request = decode_sotw(message.SerializeToString())
    assert request.node is not None and len(request.node.id) == 256
    assert request.error is not None and len(request.error) == 512


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, False),
        ({"spiffe_validator": True}, True),
        ({"spiffe_validator": "true"}, True),
        ({"spiffe_validator": False}, False),
        ({"spiffe_validator": 1.0}, False),
        ({"spiffe_validator": "yes please"}, False),
        ({"disable_spiffe_cert_validation": False}, True),
        ({"disable_spiffe_cert_validation": "false"}, True),
        ({"disable_spiffe_cert_validation": "F"}, True),
        ({"disable_spiffe_cert_validation": True}, False),
        ({"disable_spiffe_cert_validation": 0}, False),
        ({"disable_spiffe_cert_validation": None}, False),
        ({"disable_spiffe_cert_validation": {"a": 1}}, False),
        ({"spiffe_validator": False, "disable_spiffe_cert_validation": False}, False),
    ],
)
def test_the_node_may_ask_for_the_spiffe_validator(metadata: dict[str, object], expected: bool):
    node = NodeMessage(id="n")
    node.metadata.update(metadata)
    request = decode_sotw(xds.DiscoveryRequest(node=node).SerializeToString())
    assert request.node == Node("n", expected)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused_without_an_echo(raw: bytes):
    for decode in (decode_sotw, decode_delta):
        try:
            request = decode(raw)
        except InvalidRequest as refusal:
            assert str(refusal).startswith("the message is not a ")
            assert refusal.__cause__ is None
        else:
            assert request.node is None or request.node.id.isprintable() or request.node.id == ""


@given(st.text(max_size=60), st.integers(2, 40))
def test_cleaned_text_is_one_bounded_printable_line(text: str, limit: int):
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert not text.isprintable() or len(text) > limit or shown == text
