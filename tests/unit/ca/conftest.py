"""Keys are made once a run: RSA takes its time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ca.keys import KeyType, PrivateKey, generate


@pytest.fixture(scope="session")
def keys() -> Mapping[KeyType, PrivateKey]:
    """One key of each kind."""
    return {key_type: generate(key_type) for key_type in KeyType}


@pytest.fixture(scope="session")
def key(keys: Mapping[KeyType, PrivateKey]) -> PrivateKey:
    """A P-256 key."""
    return keys[KeyType.ECDSA_P256]
