"""The load of the issuance benchmark: one agent identity that has CSRs signed over the real node API at full speed.

Prints `{"ready": true}`, waits for a line on standard input, then for `--seconds` keeps `--calls` calls of `--batch`
CSRs in flight and prints `{"signed": n, "seconds": s, "call_ms": {"p50", "p99"}}`. The CSRs are made beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.crypto_floor import make_csrs
from benchmarks.machine import percentile
from ca.csr import build_csr
from ca.keys import KeyType, generate
from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc

_SERVER_NAME = (("grpc.ssl_target_name_override", "server.sds.internal"),)


async def _join(attest: str, roots: bytes, token: bytes) -> grpc.ChannelCredentials:
    """Attest as an agent does and return the credentials that it gets."""
    key = generate(KeyType.ECDSA_P256)
    async with grpc.aio.secure_channel(attest, grpc.ssl_channel_credentials(roots), options=_SERVER_NAME) as channel:
        stub = node_pb2_grpc.NodeAttestationStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = node_pb2.AttestRequest(type="join_token", payload=token, csr=build_csr(key))
        answer = await stub.Attest(request, timeout=10)
    chain = "".join(map(ssl.DER_cert_to_PEM_cert, answer.svid.certificate_chain)).encode()
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return grpc.ssl_channel_credentials(roots, key_pem, chain)


async def run(given: argparse.Namespace) -> None:
    roots = Path(given.bundle).read_bytes()
    credentials = await _join(given.attest_server, roots, Path(given.token_file).read_bytes().strip())
    csrs = make_csrs(given.batch)
    process = node_pb2.ProcessInfo(pid=1, uid=1, path="/bench")
    items = [node_pb2.SignItem(entry_id=given.entry, csr=csr, process=process) for csr in csrs]
    request = node_pb2.SignX509SvidsRequest(items=items)
    options = (*_SERVER_NAME, ("grpc.max_receive_message_length", 64 << 20))
    async with grpc.aio.secure_channel(given.server, credentials, options=options) as channel:
        stub = node_pb2_grpc.NodeStub(channel)  # type: ignore[no-untyped-call]  # generated
        await stub.SignX509Svids(request, timeout=30)
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        signed = 0
        calls: list[float] = []
        start = time.monotonic()

        async def caller() -> None:
            nonlocal signed
            while time.monotonic() - start < given.seconds:
                began = time.monotonic()
                answer = await stub.SignX509Svids(request, timeout=30)
                calls.append(time.monotonic() - began)
                bad = [result.error.message for result in answer.results if result.HasField("error")]
                if bad:
                    raise RuntimeError(f"{len(bad)} of {len(answer.results)} refused: {bad[0]}")
                signed += len(answer.results)

        await asyncio.gather(*(caller() for _ in range(given.calls)))
        seconds = time.monotonic() - start
    calls.sort()
    quantiles = {"p50": round(percentile(calls, 0.5) * 1e3, 2), "p99": round(percentile(calls, 0.99) * 1e3, 2)}
    print(json.dumps({"signed": signed, "seconds": seconds, "call_ms": quantiles}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--server", "--attest-server", "--bundle", "--token-file", "--entry"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    asyncio.run(run(parser.parse_args()))
