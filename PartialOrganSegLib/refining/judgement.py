"""How probable it is that a voxel shares a stroke's error, by a small network that has seen many strokes.

Where a stroke is short for its error, the rule (`rule`) does not dare enough: with parts of organs taken away the
network gave .04 of Dice more after three short strokes. Of thin organs it knows no more than the rule, on adrenal
glands it was worse; and it has seen few organs that are missing as a whole, which it brought .02 less of.

It was trained by scripts/stroke_judgement.py on strokes of a simulated user in eleven CTs. The share that it has beside
the rule was chosen on eight of them, each judged by a network that had not seen it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..resources import resource
from .coarse import Values
from .evidence import NAMES, candidates, table_of
from .neighbourhood import Neighbourhood
from .rule import Rule, between

WEIGHTS = ("refining", "judgement.safetensors")
# What the network has to say beside the rule, as a share of the log odds, by the half thickness of the organ that gains
# or loses: none of it, and all.
LEARNED_SHARE = 0.75
THIN_MM, THICK_MM = 4.0, 12.0
# Of an organ of which there is less than this of its usual volume, the rule knows more: how large it usually is.
LEAST_PRESENT = 0.2
NEVER = 1e-4  # beside probabilities, so that none decides alone
ROWS = 65536  # at a time, so that little memory is needed

Array = npt.NDArray[np.float32]


def share_error(place: Neighbourhood) -> Values:
    """(z, y, x) the probability of each voxel of sharing the stroke's error."""
    rule = Rule(place)
    by_rule = rule.probability
    share = LEARNED_SHARE * between(THIN_MM, THICK_MM, place.surroundings.half_thickness)
    if place.log_volumes[0] < np.log(LEAST_PRESENT):
        share = 0.0
    chosen = candidates(place)
    if share == 0 or not chosen.any():
        return by_rule
    learned = network().log_odds(table_of(place, rule, chosen))
    p = by_rule[chosen].clip(NEVER, 1 - NEVER)
    most = float(np.log((1 - NEVER) / NEVER))
    odds = share * learned.clip(-most, most) + (1 - share) * np.log(p / (1 - p))
    both = by_rule.copy()
    both[chosen] = 1 / (1 + np.exp(-odds))
    return both


@dataclass(frozen=True)
class Network:
    """A perceptron on evidence that is clipped to `lowest` and `highest`, then has the mean 0 and the deviation 1.

    `layers`: weights (outputs, inputs) and biases (outputs,), a ReLU between them.
    """

    lowest: Array
    highest: Array
    mean: Array
    deviation: Array
    layers: tuple[tuple[Array, Array], ...]

    def log_odds(self, table: Array) -> Array:
        """(n,) of rows of evidence (n, `len(NAMES)`)."""
        parts = [self._log_odds(table[first:first + ROWS]) for first in range(0, len(table), ROWS)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _log_odds(self, table: Array) -> Array:
        values = (table.clip(self.lowest, self.highest) - self.mean) / self.deviation
        for number, (weight, bias) in enumerate(self.layers):
            if number > 0:
                values = np.maximum(values, 0)
            values = values @ weight.T + bias
        return np.asarray(values[:, 0], np.float32)


@functools.cache
def network() -> Network:
    """The one that ships with the library."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    file = resource(*WEIGHTS)
    with safe_open(file, "np") as stream:
        names = (stream.metadata() or {}).get("evidence", "").split()
    if tuple(names) != NAMES:
        raise ValueError(f"{file}: expected weights for {' '.join(NAMES)}, found those for {' '.join(names)}")
    tensors = load_file(file)
    count = sum(name.startswith("weight") for name in tensors)
    layers = tuple((tensors[f"weight{number}"], tensors[f"bias{number}"]) for number in range(count))
    return Network(tensors["lowest"], tensors["highest"], tensors["mean"], tensors["deviation"], layers)
