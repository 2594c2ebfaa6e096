"""The manifest that a fine-tuning run trains by: its own cases, the replayed ones, and those it measures on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from ..annotation import Kind
from ..atomic import whole_file
from ..datasets.manifest import LONGEST_NAME
from ..label_space_file import LabelSpaceEntry
from ..organs import LabelSpace
from .cases import MEASURED, TRAINED, PreparedCase
from .plan import write_json
from .replay import Replay
from .run_folder import LABEL_SPACE_FILE, MANIFEST_FILE

# Of the patches.
REPLAY_SHARE = 0.25


def write_manifest(run: Path, space: LabelSpace, training: Sequence[PreparedCase], replay: Replay,
                   measured: Sequence[PreparedCase]) -> None:
    """One manifest of all cases in the folder `run`; of the patches `REPLAY_SHARE` are replayed ones, half of them from
    anywhere."""
    write_json(run / LABEL_SPACE_FILE, LabelSpaceEntry.of(space).model_dump(mode="json"))
    names = _Names()
    # The user's, which share what is not replayed.
    weights: dict[str, float] = {}
    for case in training:
        weights.setdefault(case.dataset, case.weight)
    datasets = []
    for name, weight in weights.items():
        cases = [case for case in training if case.dataset == name]
        share = weight / sum(weights.values()) * (1 - REPLAY_SHARE)
        entries = [case.entry(space, group=TRAINED) for case in cases]
        datasets.append(_dataset(f"cases of {name}", share, entries, names))
    replayed = {"replay": replay.training, "replay, anywhere": replay.anywhere}
    replayed = {name: replayed_cases for name, replayed_cases in replayed.items() if replayed_cases}
    for name, replayed_cases in replayed.items():
        entries = [case.entry(space, group=TRAINED) for case in replayed_cases]
        datasets.append(_dataset(name, REPLAY_SHARE / len(replayed), entries, names))
    measured = [*measured, *replay.measured]
    if measured:
        # As partial labels, which agreement with strokes is measured on too.
        entries = [case.entry(space, group=MEASURED, kind=Kind.PARTIAL.value) for case in measured]
        datasets.append(_dataset("measured", 0.0, entries, names))
    with whole_file(run / MANIFEST_FILE) as temporary:
        temporary.write_text(yaml.safe_dump({"label_space": LABEL_SPACE_FILE, "datasets": datasets}, sort_keys=False,
                                            allow_unicode=True), encoding="utf-8")


class _Names:
    """Names of cases, each given once."""

    def __init__(self) -> None:
        self._taken_names: set[str] = set()

    def unique(self, name: str) -> str:
        """The name, at half of the longest length, so that a few underscores make it unique."""
        name = name.encode()[:LONGEST_NAME // 2].decode(errors="ignore")
        while name in self._taken_names:
            name += "_"
        self._taken_names.add(name)
        return name


def _dataset(name: str, weight: float, entries: Sequence[dict[str, object]], names: _Names) -> dict[str, object]:
    """A data set of the manifest."""
    cases = [entry | {"name": names.unique(str(entry["name"]))} for entry in entries]
    return {"name": name, "weight": weight, "cases": cases}
