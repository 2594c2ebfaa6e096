"""CTs into results, one after another: the model is loaded once, for whoever asks (Python, command line, workers)."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import Reporter
from ..process_settings import ask_for_large_pages
from .options import SegmentOptions, check_scales

if TYPE_CHECKING:
    import numpy as np

    from ..imaging.volume import Grid
    from .predictor import Predictor
    from .result import SegmentResult


class Segmenter:
    """A model and how to use it, for any number of CTs. The network is loaded once, before the first CT.

    Raises UserError for an unknown or damaged model, an organ that it does not know and a missing package.

    >>> from PartialOrganSegLib.synthesis.phantom import make_phantom
    >>> ct, _ = make_phantom(shape_zyx=(20, 20, 20), spacing_zyx=(8, 8, 8))
    >>> segmenter = Segmenter(SegmentOptions(organs=["liver", "spleen"], device="cpu"))
    >>> result = segmenter(ct)
    >>> result.labels.grid == ct.grid, list(result.organs)
    (True, ['liver', 'spleen'])
    """

    def __init__(self, options: SegmentOptions | None = None, predictor: Predictor | None = None) -> None:
        """`predictor`: one that is loaded already; its model and settings count instead of those of the options."""
        from ..formats.dicom_export import check_writers
        from ..models.coarser import coarser
        from ..models.ensemble import load_models

        self.options = options or SegmentOptions()
        ask_for_large_pages()
        # A package that writing needs is missed here, not after the first CT was segmented.
        check_writers(self.options.dicom)
        if predictor is None:
            self.bundle = load_models(self.options.model, self.options.combine)
            if self.options.fast:
                self.bundle = coarser(self.bundle)
        else:
            self.bundle, self.predictor = predictor.bundle, predictor
        self.organs = self.options.organs_of(self.bundle.label_space)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """The network with its method of prediction. Raises UserError for unfitting weights or an absent device."""
        from .predictor import Predictor

        options = self.options
        return Predictor(self.bundle, device=options.device, mirror=options.mirror, scales=check_scales(options.scales),
                         precision=options.precision, combine=options.combine)

    def prepare(self) -> None:
        """Loads the network, unless that is done."""
        _ = self.predictor

    def __call__(self, ct: Any, *, spacing: Sequence[float] | None = None, origin: Sequence[float] | None = None,
                 direction: Sequence[float] | np.ndarray | None = None, grid: Grid | None = None,
                 series: str | int | None = None, reporter: Reporter | None = None) -> SegmentResult:
        """Segments one CT: a path (file or DICOM folder), a SimpleITK image, a `Volume`, or an array (z, y, x) in HU
        with `spacing` (x, y, z) in mm, `origin` and `direction` in LPS, or with `grid`; see `formats.ct_input.as_ct`.

        `series`: instead of the one of the options. `reporter` receives progress and warnings.
        Raises UserError for what is not one CT, or not one in HU, and for one that does not fit into memory.
        """
        from ..formats.ct_input import as_ct
        from .result import CTSource, SegmentResult

        reporter = reporter or Reporter()
        if series is None:
            series = self.options.series
        chosen = None if series is None else str(series)
        path = Path(ct) if isinstance(ct, (str, os.PathLike)) else None
        source = CTSource(path, chosen)
        start = time.perf_counter()
        volume = as_ct(ct, spacing=spacing, origin=origin, direction=direction, grid=grid, series=chosen,
                       force=self.options.force, reporter=reporter)
        dicom = None
        if self.options.dicom:  # read now, so that what is amiss with the series shows before the work
            dicom = source.dicom(reporter)
        seconds = {"read": time.perf_counter() - start}
        prediction = self.predictor.predict(volume, organs=self.organs, reporter=reporter)
        return SegmentResult(prediction.labels, volume, self.bundle, self.options, prediction.entropy,
                             {**seconds, **prediction.seconds}, prediction.precision, source, dicom)
