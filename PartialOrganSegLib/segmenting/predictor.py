"""A CT into a labelmap on the same grid, by the method that suits the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..models.combining import MEAN, VOTE
from ..models.ensemble import check_mean
from .backend import choose_device
from .bundle_predictor import BundlePredictor
from .cores import Load, choose_threads
from .joined import JoinedPredictor
from .memory import check_memory
from .nnunet.predictor import NNUNetPredictor
from .options import check_scales
from .scores import OrganEntropy
from .threads import threads
from .voting import VotingPredictor

Method: TypeAlias = BundlePredictor | NNUNetPredictor | JoinedPredictor


@dataclass(frozen=True)
class Prediction:
    """`labels`: uint8 on the CT's grid; `entropy`: mean nats over an organ's voxels; `seconds` of each stage;
    `precision` of the convolutions, such as "bfloat16"."""

    labels: Volume
    entropy: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)
    precision: str = "float32"


class Predictor:
    """A bundle's network, loaded once and used for any number of CTs.

    >>> Predictor(load_bundle("embedded")).predict(read_ct(path)).labels    # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, device: str = "auto", mirror: bool = False,
                 scales: Sequence[float] = (1.0,), precision: str = "auto", combine: str = MEAN) -> None:
        """`mirror` also predicts the mirrored CT; `scales` predict it enlarged or reduced in plane (Zhou 2019, section
        4.1: 0.75 to 2). Their scores are averaged. A model imported from nnU-Net has mirrorings of its own and no
        scales. `precision`: "auto", "float32", "bfloat16" or, on an accelerator, "float16" (see `choose_precision`).
        `combine`: how an ensemble's models are, "mean" or "vote".
        Raises UserError for an absent device, a scale beyond 0.25 to 4 or a precision that the device does not have.
        """
        self.bundle = bundle
        self.device = choose_device(device)
        self._load = Load()
        self._cost_reported = not bundle.folds
        scales = check_scales(scales)
        parts = (bundle, *(member.bundle for member in bundle.members), *bundle.folds)
        imported = [network for network in parts if network.nnunet is not None]
        if imported and scales != (1.0,):
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="scales",
                            expected=f"none for {imported[0].name}, a model imported from nnU-Net", found=scales)

        def method(part: Bundle) -> Method:
            if part.members:
                return JoinedPredictor(part, self.device, mirror, scales, precision)
            if part.nnunet is None:
                return BundlePredictor(part, self.device, mirror, scales, precision)
            return NNUNetPredictor(part, self.device, mirror, precision)

        self._method: Method | VotingPredictor
        if bundle.folds and combine == VOTE:
            self._method = VotingPredictor([method(fold) for fold in bundle.folds], bundle.label_space)
        else:
            if bundle.folds:
                check_mean(bundle)
            self._method = method(bundle)

    @torch.inference_mode()
    def predict(self, ct: Volume, organs: Sequence[str] | None = None, reporter: Reporter | None = None) -> Prediction:
        """Labels of `organs` (default all) on `ct.grid`; `ct` in HU, any axis order, direction and spacing.

        The other organs still compete for their voxels, they are only not written.
        Raises UserError for an unknown organ and for a CT that does not fit into memory.
        """
        space = self.bundle.label_space
        # From a class to the value that is written for it.
        written = np.arange(space.class_count, dtype=np.uint8)
        if organs is not None:
            written[~np.isin(written, space.indices(organs))] = 0
        reporter = reporter or Reporter()
        check_memory(ct.grid, self.bundle, reporter)
        if not self._cost_reported:
            self._cost_reported = True
            count = len(self.bundle.folds)
            reporter.warning(Problem(Code.SETTING_SLOW, f"model {self.bundle.name}", hint="one of them alone is faster",
                                     found=f"{count} networks: a CT takes about {count} times as long as with one"))
        seconds: dict[str, float] = {}
        self._method.threads = choose_threads(self._load, torch.get_num_threads())
        # See `cores`: short operations lose more to waiting for each other than several threads gain.
        with threads(1):
            native, entropy = self._method.segment(ct, written, seconds, reporter)
        # Organs that are not written competed all the same, but nobody asked for their entropy.
        chosen = {space.names[index - 1] for index in np.unique(written[written > 0])}
        to_draw: dict[str, float] = {}
        # An imported model's or a vote's do not say where.
        if isinstance(entropy, OrganEntropy):
            to_draw = entropy.to_draw
        entropy = OrganEntropy({organ: nats for organ, nats in entropy.items() if organ in chosen}, to_draw)
        return Prediction(Volume(native, ct.grid), entropy, seconds,
                          str(self._method.precision).removeprefix("torch."))
