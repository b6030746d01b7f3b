"""Options that several commands share, as one parameter of theirs.

typer reads a command's signature, which has no groups; so each group stands there as its options, and the command gets
what is made of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from sds.cli import parameters

F = TypeVar("F", bound=Callable[..., Any])

Options = Mapping[str, tuple[Any, object]]
"""By name: the annotation that typer reads, and the default."""
Option = tuple[Any, object]
_CONTEXT = "context"


def option_group(place: str, options: Options, make: Callable[..., Any]) -> Callable[[F], F]:
    """A decorator that puts `options` where the parameter `place` stands, and hands it ``make(context, **given)``.

    `make` may raise typer.BadParameter. Several groups of one command are several decorators.
    """

    def decorate(command: F) -> F:
        hints = get_type_hints(command, include_extras=True)
        own = list(inspect.signature(command).parameters.values())
        wants_context = any(each.name == _CONTEXT for each in own)
        group = [_keyword(name, kind, default) for name, (kind, default) in options.items()]
        parameters = [_keyword(_CONTEXT, typer.Context, inspect.Parameter.empty)]
        for each in own:
            if each.name == place:
                parameters += group
            elif each.name != _CONTEXT:
                parameters.append(_keyword(each.name, hints[each.name], each.default))

        @functools.wraps(command)
        def run(**given: Any) -> Any:
            context = given.pop(_CONTEXT)
            made = make(context, **{name: given.pop(name) for name in options})
            if wants_context:
                given[_CONTEXT] = context
            return command(**given, **{place: made})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run  # type: ignore[return-value]

    return decorate


def _keyword(name: str, kind: Any, default: object) -> inspect.Parameter:
    """All are given by name, so an option with a default may stand before an argument without one."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def option(kind: Any, *flags: str, default: object = None, **more: Any) -> Option:
    """An option of a group; `more` is what typer.Option takes."""
    return Annotated[kind, typer.Option(*flags, **more)], default


def text(flag: str, told: str, metavar: str = "TEXT", **more: Any) -> Option:
    return option(str | None, flag, help=told, metavar=metavar, **more)


def texts(flag: str, told: str, metavar: str = "TEXT", **more: Any) -> Option:
    """May be repeated."""
    return option(list[str] | None, flag, help=told, metavar=metavar, **more)


def labels(told: str) -> Option:
    return texts("--label", told, "K=V", callback=parameters.labels)


def duration(flag: str, told: str, *, check: Callable[[str | None], str | None] = parameters.duration) -> Option:
    return text(flag, told, "DURATION", callback=check)
