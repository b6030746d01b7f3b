"""Verifying a copy of the log by nothing but keys and what one remembers: an export, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sds.audit.checkpoint import Checkpoint, chain_of_keys, parse_checkpoint, parse_pruning
from sds.audit.export import ExportHeader, InvalidExport, parse_header, parse_line
from sds.audit.judge import Claim, Findings, Judge, ProblemKind
from sds.audit.merkle import verify_consistency
from sds.audit.note import InvalidNote, VerifierKey, parse_vkey


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it. `checkpoint` is the verified one over all that was looked at; None where there is none."""

    findings: Findings
    size: int
    events: int
    checkpoint: Checkpoint | None
    keys: tuple[VerifierKey, ...]

    @property
    def ok(self) -> bool:
        return self.findings.ok


def trusted_keys(header: ExportHeader, given: Sequence[VerifierKey], findings: Findings) -> tuple[VerifierKey, ...]:
    """The keys to believe: those given and all that they vouch for; without any given, the export's own."""
    try:
        named = tuple(map(parse_vkey, header.keys))
    except InvalidNote as error:
        findings.add(ProblemKind.KEY, f"a key in the export cannot be read: {error}")
        return tuple(given)
    found: dict[str, VerifierKey] = {key.text: key for key in given}
    for start in given or named[:1]:
        try:
            found |= {key.text: key for key in chain_of_keys(start, header.endorsements)}
        except InvalidNote as error:
            findings.add(ProblemKind.KEY, f"a key is vouched for falsely: {error}")
    for number, key in enumerate(named, start=1):
        # Keys from before the one that was given are vouched for by nobody; they may have signed what is pruned.
        if key.text not in found and not (given and _before(named, key, given)):
            findings.add(ProblemKind.KEY, f"key {number} of the log is vouched for by none that is trusted")
    return tuple(found.values())


def _before(named: Sequence[VerifierKey], key: VerifierKey, given: Sequence[VerifierKey]) -> bool:
    places = [number for number, one in enumerate(named) if one in given]
    return bool(places) and named.index(key) < min(places)


class ExportVerifier:
    """Fed with the lines of an export; `verdict` at its end."""

    def __init__(self, keys: Sequence[VerifierKey] = (), remembered: Sequence[str] = ()) -> None:
        """`keys` are trusted beforehand; `remembered` are notes of checkpoints seen earlier. Both may be none."""
        self._given = tuple(keys)
        self._remembered = tuple(remembered)
        self._findings = Findings()
        self._judge: Judge | None = None
        self._keys: tuple[VerifierKey, ...] = ()
        self._checkpoint: Checkpoint | None = None
        self._last = 0
        self.note = ""
        """The signed note of the checkpoint over all; to be remembered if the verdict is good."""
        self.early: list[Checkpoint] = []
        """Remembered checkpoints from before the first event that is here: roots cannot show that they still hold."""

    @property
    def size(self) -> int:
        return 0 if self._judge is None else self._judge.size

    @property
    def expected(self) -> int:
        """How many leaves the checkpoint says that there are."""
        return self._last

    def feed(self, line: bytes) -> None:
        """The next line, without its newline. Raises InvalidExport for what is no export, or has been filtered."""
        if self._judge is None:
            self._judge = self._begin(parse_header(line))
        else:
            self._judge.leaf(parse_line(line))

    def prove(self, early: Checkpoint, path: Sequence[bytes]) -> None:
        """Take the log's own proof (RFC 9162 2.1.4) that its checkpoint grew out of an early one."""
        now = self._checkpoint
        if now is not None and verify_consistency(early.size, now.size, early.root, now.root, path):
            self.early.remove(early)

    def verdict(self) -> Verdict:
        """Raises InvalidExport if not even a first line was there."""
        if self._judge is None:
            raise InvalidExport("the file is empty")
        for each in self.early:
            self._findings.add(
                ProblemKind.CHECKPOINT,
                f"the remembered checkpoint of size {each.size} is from before the first event that is here, and "
                "nothing proves that it still holds",
            )
        self.early = []
        self._judge.finish()
        return Verdict(self._findings, self._judge.size, self._judge.events, self._checkpoint, self._keys)

    def _begin(self, header: ExportHeader) -> Judge:
        if header.filtered:
            raise InvalidExport("the export leaves events out, so that it cannot be verified; export without filters")
        self._keys = trusted_keys(header, self._given, self._findings)
        claims = list(self._claims(header))
        if header.first and not any(claim.kind is ProblemKind.PRUNING for claim in claims):
            self._findings.add(
                ProblemKind.MISSING,
                f"leaves 0 to {header.first - 1} are gone, and no statement says that they were pruned",
            )
        return Judge(self._findings, claims, header.frontier)

    def _claims(self, header: ExportHeader) -> Iterator[Claim]:
        add = self._findings.add
        if header.checkpoint:
            try:
                found = self._checkpoint = parse_checkpoint(header.checkpoint, self._keys)
                self._last, self.note = found.size, header.checkpoint
                yield Claim(f"the checkpoint of size {found.size}", found.size, found.root)
            except InvalidNote as error:
                add(ProblemKind.CHECKPOINT, f"the checkpoint cannot be believed: {error}")
        for text in header.prunings:
            try:
                pruning = parse_pruning(text, self._keys)
            except InvalidNote as error:
                add(ProblemKind.PRUNING, f"a statement of pruning cannot be believed: {error}")
                continue
            if pruning.size == header.first:
                name = f"the statement that leaves before {pruning.size} were pruned"
                yield Claim(name, pruning.size, pruning.root, ProblemKind.PRUNING)
        for claim in remembered_claims(self._remembered, self._keys, self._checkpoint, self._findings):
            if claim.size >= header.first or self._checkpoint is None:
                yield claim
            else:
                self.early.append(Checkpoint(self._checkpoint.origin, claim.size, claim.root))


def remembered_claims(
    notes: Iterable[str],
    keys: Sequence[VerifierKey],
    checkpoint: Checkpoint | None,
    findings: Findings,
) -> Iterator[Claim]:
    """What checkpoints seen earlier claim of a log that has `checkpoint` now."""
    for text in notes:
        try:
            found = parse_checkpoint(text, keys)
        except InvalidNote as error:
            findings.add(ProblemKind.CHECKPOINT, f"the remembered checkpoint is none of this log: {error}")
            continue
        if checkpoint is not None and found.origin != checkpoint.origin:
            findings.add(ProblemKind.CHECKPOINT, "the remembered checkpoint is one of another log")
        else:
            yield Claim(
                f"the remembered checkpoint of size {found.size}", found.size, found.root, ProblemKind.CHECKPOINT
            )
