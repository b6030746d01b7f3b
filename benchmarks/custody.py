"""How fast key managers sign: the same batches by a wrapped key and by one in a PKCS #11 token (SoftHSM2), as JSON.

Prints `{"machine", "batch", "rates": [{"key_type", "scheme", "wrapped", "pkcs11", "ratio"}]}`, signatures a second of
one thread. The token is made in a temporary folder; a real HSM is measured by `--module`, `--token` and `--pin-file`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.machine import facts
from ca.key_manager import KeyManager
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import TokenConfig
from ca.key_managers.wrapped import WrappedKeyManager
from ca.keys import KeyType
from ca.signer import Scheme, Signer
from sds.server.authority.pin_file import read_pin
from tests.fakes.ca import TRUST_DOMAIN, FakeWrappedKeyStore, make_key_ring
from tests.fakes.softhsm import SoftHsm

KINDS = (
    (KeyType.ECDSA_P256, Scheme.X509),
    (KeyType.ECDSA_P384, Scheme.X509),
    (KeyType.RSA_2048, Scheme.X509),
    (KeyType.RSA_2048, Scheme.PSS_SHA256),
)
MESSAGE = bytes(600)  # about a certificate


def rate(signer: Signer, scheme: Scheme, batch: int, seconds: float) -> float:
    """Signatures a second in batches, after one that is not counted."""
    messages = [MESSAGE] * batch
    signer.sign(messages, scheme=scheme)
    done, start = 0, time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        signer.sign(messages, scheme=scheme)
        done += batch
    return done / elapsed


async def measure(managers: dict[str, KeyManager], batch: int, seconds: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for key_type, scheme in KINDS:
        rates: dict[str, float] = {}
        for name, manager in managers.items():
            made = await manager.generate(key_type, "benchmark")
            rates[name] = await asyncio.to_thread(rate, made.signer, scheme, batch, seconds)
            await manager.forget(made.ref)
        ratio = round(rates["pkcs11"] / rates["wrapped"], 3)
        figures = {name: round(value) for name, value in rates.items()}
        rows.append({"key_type": str(key_type), "scheme": str(scheme), **figures, "ratio": ratio})
    return rows


def token(given: argparse.Namespace, folder: Path) -> TokenConfig:
    """The one that was asked for, or one of SoftHSM2."""
    if given.module:
        return TokenConfig(given.module, given.token, partial(read_pin, Path(given.pin_file)))
    hsm = SoftHsm(folder)
    hsm.create("benchmark")
    os.environ.update(hsm.environ)
    return hsm.config("benchmark")


async def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="sds-custody-") as folder:
        managers: dict[str, KeyManager] = {
            "wrapped": WrappedKeyManager(FakeWrappedKeyStore(), make_key_ring(), TRUST_DOMAIN, os.urandom),
            "pkcs11": Pkcs11KeyManager(token(given, Path(folder)), TRUST_DOMAIN, os.urandom, time.monotonic),
        }
        rows = await measure(managers, given.batch, given.seconds)
        await managers["pkcs11"].close()
    print(json.dumps({"machine": facts(), "batch": given.batch, "rates": rows}, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--module", default="", help="a vendor's PKCS #11 library instead of SoftHSM2")
    parser.add_argument("--token", default="")
    parser.add_argument("--pin-file", default="")
    asyncio.run(run(parser.parse_args()))
