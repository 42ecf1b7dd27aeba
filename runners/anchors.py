"""`anybench doctor --weights`: the weights that are on this machine against every published anchor of theirs.

Nothing is downloaded: weights are given, or in the hub's cache. What is not there is named, with how to get it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import AbsentError
from harness.names import find, load
from harness.nouns import Extractor, Media
from harness.weights import Weights, checkpoint_path, extractor_weights
from metrics import EXTRACTORS
from metrics.anchors import ANCHORS, Anchor, Figures

HOLD, ABSENT, DIFFER = 0, 3, 5

POINTER = (
    'the published row "Real Images" of DreamBench (DINO 0.774, CLIP-I 0.885) is not run here; it takes all 30 '
    "subjects: anybench run dreambench --system oracle --data DIR"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One anchor, and what came of it: the figures that were got, or what was absent instead."""

    anchor: Anchor
    got: tuple[float, ...] = ()
    holds: bool = False
    absent: str = ""

    def said(self) -> dict[str, Any]:
        """The finding as plain data."""
        one = self.anchor
        return {
            "figure": one.figure,
            "source": one.source,
            "expected": one.expected,
            "tolerance": one.tolerance,
            "got": self.got,
            "holds": self.holds,
            "absent": self.absent,
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """One extractor: its weights (None, and why, where there are none) and a finding for each of its anchors."""

    extractor: str
    weights: Weights | None
    absent: str
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """What a person reads."""
        if self.weights is None:
            return [f"{self.extractor}: absent: {self.absent}; docs/weights.md says where they are"]
        digest = f"sha256 {self.weights.digest}, {'known' if self.weights.known else 'unknown'} digest"
        lines = [f"{self.extractor}: {self.weights.source}, {digest}"]
        if not self.findings:
            lines.append("  no published anchor")
        return lines + [line for one in self.findings for line in _lines(one)]


def check_weights(given: Mapping[str, str], cached: bool, data: str) -> list[Checked]:
    """Run the anchors of the extractors whose weights are given (extractor: path), and of all on a hub if `cached`.

    `data` is a root of data sets, "" for none. UsageError for an unknown extractor, or weights it cannot load.
    """
    for name in given:
        find(name, EXTRACTORS, "extractor")
    names = [name for name, card in EXTRACTORS.items() if name in given or (cached and card.hub)]
    return [_check(name, given.get(name, ""), data) for name in names]


def verdict(checked: Sequence[Checked]) -> tuple[str, int]:
    """One line, and the exit status: 5 where an anchor does not hold, 3 where one could not be run, 0 when all hold.

    No anchor at all is no success either: 3.
    """
    findings = [one for each in checked for one in each.findings]
    held = sum(one.holds for one in findings)
    absent = sum(bool(one.absent) for one in findings)
    differ = len(findings) - held - absent
    said = f"anchors: {held} hold, {differ} do not hold, {absent} could not be run"
    if differ:
        return said, DIFFER
    return said, ABSENT if absent or not held else HOLD


def as_data(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """Every extractor with its weights and findings, for `--json`."""
    return [
        {
            "extractor": one.extractor,
            "weights": asdict(one.weights) if one.weights else None,
            "absent": one.absent,
            "anchors": [finding.said() for finding in one.findings],
        }
        for one in checked
    ]


def _check(name: str, given: str, data: str) -> Checked:
    card = EXTRACTORS[name]
    anchors = [anchor for anchor in ANCHORS if anchor.extractor == name]
    try:
        weights = extractor_weights(name, card, given, offline=True)
    except AbsentError as error:
        return Checked(name, None, str(error), tuple(Finding(one, absent="its weights") for one in anchors))
    path = checkpoint_path(weights.source, offline=True)
    extractor: Extractor = load(card.worker.build)(path, "cpu")
    return Checked(name, weights, "", tuple(_run(anchor, extractor, data) for anchor in anchors))


def _run(anchor: Anchor, extractor: Extractor, data: str) -> Finding:
    try:
        inputs = [(_found(one, data),) for one in anchor.inputs]
    except AbsentError as error:
        return Finding(anchor, absent=str(error))
    got: Figures = anchor.measure(extractor.extract(inputs))
    return Finding(anchor, tuple(got.tolist()), anchor.holds(got))


def _found(media: Media, data: str) -> Media:
    """The medium with its full path, in a root of data sets or in the data set's own folder."""
    if not media.uri:
        return media
    if not data:
        raise AbsentError(f"{media.uri}; say with --data DIR where the data sets are")
    parts = Path(media.uri).parts
    for start in range(len(parts)):
        if (path := Path(data, *parts[start:])).is_file():
            return replace(media, uri=str(path.resolve()))
    raise AbsentError(f"{media.uri} in {data}")


def _lines(finding: Finding) -> list[str]:
    one = finding.anchor
    lines = [f"  {one.figure}", f"    published {_figures(one.expected)} in {one.source}"]
    if finding.absent:
        return [*lines, f"    not run, absent: {finding.absent}"]
    word = "holds" if finding.holds else "DOES NOT HOLD"
    return [*lines, f"    got {_figures(finding.got)}, {word} within {one.tolerance:g}"]


def _figures(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
