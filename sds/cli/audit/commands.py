"""The commands of sds audit."""

from __future__ import annotations

import typer

from sds.cli.audit.finding import export, search, show
from sds.cli.audit.following import tail
from sds.cli.audit.keeping import checkpoint, keys, prune, rotate_key
from sds.cli.audit.proving import verify
from sds.cli.audit.sinks import sinks

app = typer.Typer(no_args_is_help=True, help="The audit log: who did what, provably.")
app.command()(tail)
app.command()(search)
app.command()(show)
app.command()(export)
app.command()(verify)
app.command()(checkpoint)
app.command()(keys)
app.command(name="rekey")(rotate_key)
app.command()(prune)
app.command()(sinks)
