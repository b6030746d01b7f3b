"""From secrets to a file's content: a field as it is, or a sandboxed template. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ca.masked import Masked
from sds.secrets.secret import SecretValue

MAX_OUTPUT = 4 * 1024 * 1024


class RenderFailed(Exception):
    """What is wrong, safe to show: never a value."""


class Template:
    """Sees ``secrets``: by name, then by field, e.g. ``{{ secrets["db"].password }}``; a generic secret's value is its
    field ``value``. Whatever is not there is an error, never an empty text.
    """

    def __init__(self, source: str) -> None:
        """Raises RenderFailed for what is no template."""
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
        )
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise RenderFailed(f"is no template: {_place(error)}") from None

    def render(self, values: Mapping[str, SecretValue]) -> Masked[bytes]:
        """Raises RenderFailed."""
        try:
            text = self._template.render(secrets={name: _texts(name, value) for name, value in values.items()})
        except TemplateError as error:
            raise RenderFailed(f"cannot be filled in: {_place(error)}") from None
        except RenderFailed:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an expression does; its text may hold a value
            raise RenderFailed(f"cannot be filled in: {type(error).__name__}") from None
        if len(text) > MAX_OUTPUT:
            raise RenderFailed(f"makes more than {MAX_OUTPUT} characters")
        return Masked(text.encode())


class Field:
    """One field's bytes as they are."""

    def __init__(self, secret: str, field: str) -> None:
        self._secret = secret
        self._field = field

    def render(self, values: Mapping[str, SecretValue]) -> Masked[bytes]:
        """Raises RenderFailed."""
        for name, value in values[self._secret].fields:
            if name == self._field:
                return value
        known = ", ".join(name or "(the value itself)" for name, _ in values[self._secret].fields)
        raise RenderFailed(f"secret {self._secret} has no field {self._field!r}; it has {known}")


Content = Template | Field


def _texts(name: str, value: SecretValue) -> dict[str, str]:
    try:
        return {field or "value": masked.reveal().decode() for field, masked in value.fields}
    except UnicodeDecodeError:
        raise RenderFailed(f"secret {name} holds bytes that are no UTF-8 text; a template cannot have it") from None


def _place(error: TemplateError) -> str:
    """The kind of error and its line. Jinja's message may show a value, as of a failed filter."""
    line = getattr(error, "lineno", None)
    missing = type(error).__name__
    if missing == "UndefinedError":
        return "it names a secret or a field that is not there"
    return f"{missing}{f' in line {line}' if line else ''}"
