"""Options that say which right is given."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sds.cli import parameters


class RoleName(StrEnum):
    VIEWER = "viewer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ADMIN = "admin"


Role = Annotated[RoleName, typer.Option("--role", help="What they may do.", show_default=False)]
Below = Annotated[
    str | None,
    typer.Option("--below", help="Only for an identity and all below it, by whole path segments.", metavar="SPIFFE_ID"),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label", callback=parameters.labels, help="Only for what has this label. Repeat: all of them.", metavar="K=V"
    ),
]
