"""What is wrong with a configuration, told without ever repeating a value (it may be a secret)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pydantic


class Problem(NamedTuple):
    """One mistake: the dotted key path, what is wrong there, and what to do."""

    key: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.key}: {self.problem}" if self.key else self.problem
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(Exception):
    """The configuration cannot be used; `problems` lists every mistake that could be found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the configuration:" + "".join(f"\n  {p}" for p in problems))


CROSS = "sds_cross_check"
"""Type of the pydantic error that carries finished `Problem`s in its context (checks between keys)."""

_WORDS = {
    "missing": ("is required", ""),
    "model_type": ("must be a table", "write it as [{key}] with its keys below"),
    "model_attributes_type": ("must be a table", "write it as [{key}] with its keys below"),
    "bool_parsing": ("is not a boolean", "write true or false"),
    "bool_type": ("is not a boolean", "write true or false"),
    "int_parsing": ("is not a whole number", ""),
    "int_type": ("is not a whole number", ""),
    "int_from_float": ("is not a whole number", ""),
    "float_parsing": ("is not a number", ""),
    "float_type": ("is not a number", ""),
    "finite_number": ("is not a finite number", ""),
    "string_type": ("must be text", "put it in quotes"),
    "path_type": ("must be a path", "put it in quotes"),
}


def translate(error: pydantic.ValidationError) -> list[Problem]:
    """The findings of pydantic in our words; inputs, URLs and exception chains stay behind."""
    found: list[Problem] = []
    for detail in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in detail["loc"])
        kind = detail["type"]
        if kind == CROSS:
            prefix = f"{key}." if key else ""
            found.extend(Problem(prefix + p.key, p.problem, p.hint) for p in detail["ctx"]["problems"])
        elif kind in _WORDS:
            problem, hint = _WORDS[kind]
            found.append(Problem(key, problem, hint.format(key=key)))
        elif kind == "value_error":
            found.append(Problem(key, str(detail["ctx"]["error"])))
        else:
            found.append(Problem(key, detail["msg"].replace("Input should be", "must be")))
    return found
