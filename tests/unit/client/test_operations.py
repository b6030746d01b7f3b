"""Every operation of the admin API has one method of the client, and no method calls what is not there."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import pytest

from sds.admin.access.rules import RULES
from sds.client import Client, UnixSocket
from sds.client.nouns import OPERATION, Noun
from tests.fakes.admin_server import Running

NOT_FOR_PROGRAMS = ("page.", "session.", "server.")
"""Pages and logins of browsers; what probes and Prometheus ask."""
PARTS = {"token.create.downstream"}
"""Rights to a part of an operation."""
ELSEWHERE = {"api.describe"}
"""Operations that are not for programs: the document itself."""
LOCAL = {"Node"}
"""Nouns of an agent's own API, which is not this one."""


def nouns(running: Running) -> dict[str, Noun]:
    client = Client(UnixSocket(running.socket))
    names = [name for name, each in vars(Client).items() if isinstance(each, cached_property)]
    return {name: getattr(client, name) for name in names}


def methods(noun: Noun) -> dict[str, Any]:
    found = inspect.getmembers(type(noun), inspect.isfunction)
    return {name: each for name, each in found if not name.startswith("_")}


def test_every_operation_has_one_method_and_every_method_an_operation(running: Running) -> None:
    with Client(UnixSocket(running.socket)) as client:
        document = client._connection.get("/v1/openapi.json").json()
    served = {one["operationId"] for path_item in document["paths"].values() for one in path_item.values()}
    ruled = {name for name in RULES if not name.startswith(NOT_FOR_PROGRAMS)} - ELSEWHERE - PARTS
    made = [
        getattr(method, OPERATION)
        for noun in nouns(running).values()
        for method in methods(noun).values()
        if hasattr(method, OPERATION)
    ]
    assert sorted(made) == sorted(set(made)), "two methods for one operation"
    assert served - ELSEWHERE - set(made) == set(), "operations without a method"
    assert set(made) == ruled, "methods are of operations that somebody may call, and all of them"


def test_what_is_no_operation_itself_is_made_of_them(running: Running) -> None:
    others = {
        f"{type(noun).__name__}.{name}"
        for noun in nouns(running).values()
        for name, method in methods(noun).items()
        if not hasattr(method, OPERATION) and type(noun).__name__ not in LOCAL
    }
    assert others == {"Entries.change"}


@pytest.mark.parametrize("name", [name for name, each in vars(Client).items() if isinstance(each, cached_property)])
def test_a_noun_is_documented(running: Running, name: str) -> None:
    noun = nouns(running)[name]
    assert vars(Client)[name].__doc__
    assert (inspect.getmodule(type(noun)) or noun).__doc__
