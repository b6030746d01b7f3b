"""Files of secrets that an agent keeps up to date, one table for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from attestation.errors import InvalidSelector
from attestation.selector import parse_selectors
from sds.config.problems import Problem
from sds.config.types import Duration, FileMode, FilePath, Section, TextList, key

MAX_SINKS = 256
MAX_SECRETS = 64


class SinkSection(Section):
    """A file with a secret's field, or with a template's text, for programs that can only read files."""

    path: FilePath = key("The file. Its folder has to be there, and closed to others' writing.")
    selectors: TextList = key(
        "Selectors of the workload that the file is for, e.g. `unix:uid:33`: it gets what entries with these selectors "
        "are granted."
    )
    secrets: TextList = key("Names of the secrets that are in it.", min_length=1, max_length=MAX_SECRETS)
    field: str | None = key(
        "The one field that is the file's content; of a generic secret that is an empty text. Only with one secret and "
        "without `template`.",
        default=None,
        shown="none",
    )
    template: FilePath | None = key(
        'Jinja template of the content, read at start: `{{ secrets["db"].password }}`, `{{ secrets["token"].value }}`.',
        default=None,
        shown="none",
    )
    mode: FileMode = key("File mode.", default=0o600, shown='"0600"')
    owner: str = key("User that owns the file, by name or number.", default="", shown="the agent's")
    group: str = key("Group of the file, by name or number.", default="", shown="the agent's")
    in_memory: bool = key("Refuse a folder that is on a disk (no tmpfs or ramfs).", default=True)
    remove: bool = key("Remove the file when one of its secrets is not granted any more.", default=True)
    command: TextList = key(
        "Program, with its arguments, that is run after the file has changed; no shell. Tried again if it fails.",
        default=(),
        shown="none",
    )
    command_timeout: Duration = key(
        "How long that may take.", default=timedelta(seconds=30), ge=timedelta(seconds=1), le=timedelta(minutes=10)
    )


def sink_problems(sections: Mapping[str, SinkSection]) -> Iterator[Problem]:
    """All that is wrong with the tables, by dotted keys below that of the sinks."""
    if len(sections) > MAX_SINKS:
        yield Problem("", f"has more than {MAX_SINKS} sinks")
    paths: dict[Path, str] = {}
    for name, section in sections.items():
        yield from _problems(name, section)
        path = section.path.absolute()
        if path in paths:
            yield Problem(f"{name}.path", f"is the same path as that of {paths[path]}", "give each sink its own file")
        paths[path] = name


def _problems(name: str, section: SinkSection) -> Iterator[Problem]:
    if not section.path.is_absolute():
        yield Problem(f"{name}.path", "is not absolute")
    try:
        if not parse_selectors(section.selectors):
            yield Problem(f"{name}.selectors", "is empty: no selectors match nobody")
    except InvalidSelector as error:
        yield Problem(f"{name}.selectors", str(error))
    if (section.field is None) == (section.template is None):
        yield Problem(f"{name}.template", "or `field` is needed, and not both")
    elif section.field is not None and len(section.secrets) != 1:
        yield Problem(f"{name}.secrets", "has more than one, of which `field` can only be one's", "use a template")
