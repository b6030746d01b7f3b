"""One TOML file, then the environment, then the command line's flags: later ones win, every mistake is told at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from sds.config.agent import AgentConfig
from sds.config.problems import ConfigError, Problem, translate
from sds.config.server import ServerConfig
from sds.config.types import Section, tables_by_name

MAX_FILE_BYTES = 1_048_576
SERVER_PREFIX = "SDS_SERVER_"
AGENT_PREFIX = "SDS_AGENT_"

_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT(_.*)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
"""What Kubernetes puts into every pod beside a Service that is called ``sds-server`` or ``sds-agent``."""

_Path = tuple[str, ...]
C = TypeVar("C", bound=Section)


def load_server_config(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> ServerConfig:
    """The server's configuration. Raises ConfigError with every problem.

    `flags` maps dotted keys to values; None means that the flag was not given.
    """
    return _load(ServerConfig, SERVER_PREFIX, file, environ, flags)


def load_agent_config(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> AgentConfig:
    """The agent's configuration; see `load_server_config`."""
    return _load(AgentConfig, AGENT_PREFIX, file, environ, flags)


def env_name(prefix: str, dotted: str) -> str:
    """The environment variable of a key: ``ca.ttl`` is ``SDS_SERVER_CA__TTL``."""
    return prefix + dotted.replace(".", "__").upper()


def _load(model: type[C], prefix: str, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> C:
    leaves: dict[_Path, Any] = {}
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for source, path, value in _all_leaves(prefix, file, environ, flags, problems):
        leaves[path] = value
        sources[".".join(path)] = source
    tree = _grow(leaves, problems)
    config, found = _validate(model, tree)
    problems += [_with_context(model, p, sources) for p in found]
    if problems or config is None:
        raise ConfigError(sorted(set(problems)))
    return config


def _all_leaves(
    prefix: str,
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    problems: list[Problem],
) -> Iterator[tuple[str, _Path, Any]]:
    """Every value given anywhere, least important first."""
    if file is not None:
        for path, value in _flatten(_read_toml(file, problems)):
            yield str(file), path, value
    for name, text in sorted(environ.items()):
        rest = name.removeprefix(prefix)
        if rest in (name, "CONFIG") or _KUBERNETES.fullmatch(rest):  # CONFIG names the file itself
            continue
        yield name, tuple(rest.lower().split("__")), text
    for dotted, value in flags.items():
        if value is not None:
            yield "--" + dotted.replace(".", "-").replace("_", "-"), tuple(dotted.split(".")), value


def _read_toml(file: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        problems.append(Problem(str(file), f"cannot be read: {error.strerror}", "check the path and its permissions"))
        return {}
    if len(content) > MAX_FILE_BYTES:
        problems.append(Problem(str(file), f"is larger than {MAX_FILE_BYTES} bytes"))
        return {}
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        problems.append(Problem(str(file), "is not UTF-8 text"))
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at [^()]*\)$", str(error))  # the rest of the message may quote the file
        problems.append(Problem(str(file), f"is not TOML {where[0] if where else ''}".rstrip(), "see https://toml.io"))
    except RecursionError:
        problems.append(Problem(str(file), "is nested too deeply"))
    return {}


def _flatten(table: Mapping[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, (*above, name))
        else:
            yield (*above, name), value


def _grow(leaves: Mapping[_Path, Any], problems: list[Problem]) -> dict[str, Any]:
    """The tree of tables again. A value where others expect a table is a problem, told once."""
    tree: dict[str, Any] = {}
    for path, value in sorted(leaves.items(), key=lambda item: len(item[0])):
        table = tree
        for depth, name in enumerate(path[:-1], start=1):
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                key = ".".join(path[:depth])
                problems.append(Problem(key, "is given both as a value and as a table", f"write it as [{key}]"))
                break
        else:
            table[path[-1]] = value
    return tree


def _validate(model: type[C], tree: dict[str, Any]) -> tuple[C | None, list[Problem]]:
    """The config, or all problems.

    A bad key keeps pydantic from checking it against others, so what is wrong is left out and the rest looked at again.
    """
    try:
        return model.model_validate(tree), []
    except pydantic.ValidationError as error:
        problems = new = translate(error)
    rest = _STAND_INS[model] | tree
    while new:
        for problem in new:
            rest = _without(rest, tuple(problem.key.split(".")))
        rest = _STAND_INS[model] | rest
        try:
            model.model_validate(rest)
        except pydantic.ValidationError as error:
            told = {p.key for p in problems}
            new = [p for p in translate(error) if p.key not in told]
            problems = problems + new
        else:
            break
    return None, problems


_STAND_INS: Mapping[type[Section], dict[str, Any]] = {
    ServerConfig: {"trust_domain": "stand-in.invalid"},
    AgentConfig: {"server": "stand-in.invalid:1"},
}
"""For required keys, so that a missing one does not hide other mistakes."""


def _without(tree: dict[str, Any], path: _Path) -> dict[str, Any]:
    first, *rest = path
    copy = dict(tree)
    if not rest:
        copy.pop(first, None)
    elif isinstance(copy.get(first), dict):
        copy[first] = _without(copy[first], tuple(rest))
    return copy


def _with_context(model: type[Section], problem: Problem, sources: Mapping[str, str]) -> Problem:
    """Say where the value came from, and for an unknown key which known one is meant."""
    key, text, hint = problem
    if text == _UNKNOWN:
        hint = _did_you_mean(model, key)
        text = "is not a known key"
    source = sources.get(key) or next((s for k, s in sources.items() if k.startswith(key + ".")), None)
    return Problem(key, f"{text} (from {source})" if source else text, hint)


_UNKNOWN = "Extra inputs are not permitted"


def _did_you_mean(model: type[Section], key: str) -> str:
    keys = [each for dotted, field in walk(model) for each in _as_written(dotted, field, key)]
    known = keys + list(dict.fromkeys(dotted.rpartition(".")[0] for dotted in keys if "." in dotted))
    tails = {dotted.rsplit(".", 1)[-1]: dotted for dotted in reversed(keys)}
    tail = key.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if not close and tail in tails:
        close = [tails[tail]]
    if not close:
        close = [tails[name] for name in difflib.get_close_matches(tail, tails, n=1, cutoff=0.75)]
    return f"did you mean {close[0]}?" if close else "docs/config.md lists all keys"


def _as_written(dotted: str, field: pydantic.fields.FieldInfo, key: str) -> list[str]:
    """A known key; for tables by name, the keys in the one that `key` speaks of."""
    named = tables_by_name(field.annotation)
    if named is None or not key.startswith(dotted + "."):
        return [dotted]
    name = key.removeprefix(dotted + ".").partition(".")[0]
    return [f"{dotted}.{name}.{each}" for each, _ in walk(named)]


def walk(model: type[Section], above: str = "") -> Iterator[tuple[str, pydantic.fields.FieldInfo]]:
    """Every key of a model, dotted, in the order of the file."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from walk(field.annotation, f"{above}{name}.")
        else:
            yield above + name, field
