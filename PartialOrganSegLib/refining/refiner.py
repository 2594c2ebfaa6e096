"""A CT and strokes into corrected labels: reads what was given, segments where no labels are, corrects once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..events import Reporter
from ..formats.ct_input import as_ct
from ..formats.reading import read_labelmap
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..models.ensemble import load_models
from ..segmenting.options import SegmentOptions, in_label_order
from ..segmenting.result import CTSource, SegmentResult
from .network_scores import NetworkScores, scoring_network
from .result import RefineResult, kept_labels
from .session import Correction, RefineSession
from .stroke_input import StrokeSource

if TYPE_CHECKING:
    import SimpleITK as sitk


def refine(ct: Path | str | Volume | sitk.Image, strokes: StrokeSource, *,
           labels: Path | str | Volume | SegmentResult | None = None, accepted: Sequence[str] = (),
           options: SegmentOptions | None = None, reporter: Reporter | None = None) -> RefineResult:
    """Corrects the labels of one CT where strokes contradict them; see `RefineSession`.

    `labels`: those to correct, None to segment the CT first with the `options`. `options.model` says what label values
    mean; its organs are the ones that may be drawn. `accepted`: organs that nothing but a stroke may change.

    Raises UserError for what is not one CT in HU, for labels or strokes that do not fit it, and an unknown organ.
    """
    opened = OpenedCT(ct, labels, accepted, options or SegmentOptions(), reporter or Reporter())
    since = time.perf_counter()
    correction = opened.session.add(strokes)
    opened.seconds["refine"] = time.perf_counter() - since
    return opened.result(correction)


class OpenedCT:
    """A CT that was read, with its labels to correct (segmented where there were none) in a `session`.

    Raises what `refine` does, strokes apart.
    """

    def __init__(self, ct: Path | str | Volume | sitk.Image, labels: Path | str | Volume | SegmentResult | None,
                 accepted: Sequence[str], options: SegmentOptions, reporter: Reporter) -> None:
        self._options = options
        self.bundle = load_models(options.model, options.combine)
        try:
            organs = in_label_order(accepted, self.bundle.label_space)
        except UserError as error:
            raise error.within("accepted") from None
        self._source = _source_of(ct, options)
        since = time.perf_counter()
        self.ct = as_ct(ct, series=self._source.series, force=options.force, reporter=reporter)
        self.seconds = {"read": time.perf_counter() - since}
        self._start = _start(self.ct, labels, options, self.seconds, reporter)
        self.session = RefineSession(self.ct, self._start.labels, self.bundle.label_space, organs,
                                     _series_uid(self._source, reporter), _scores(self.bundle, self.ct, options))

    def result(self, correction: Correction) -> RefineResult:
        """What the session came to, `correction` being the change since the start."""
        segmented = SegmentResult(correction.labels, self.ct, self.bundle, self._options, self._start.entropy,
                                  self.seconds, self._start.precision, self._source)
        return RefineResult(segmented, self._start.labels, self.session.strokes, correction)


def restored(ct: Path | str | Volume | sitk.Image, folder: Path, name: str, options: SegmentOptions,
             reporter: Reporter) -> SegmentResult:
    """The CT with the labels that its latest correction, called `name` in `folder`, replaced. Raises UserError where
    none were kept, and for those of another CT."""
    labels = kept_labels(folder, name)
    source = _source_of(ct, options)
    volume = as_ct(ct, series=source.series, force=options.force, reporter=reporter)
    bundle = load_models(options.model, options.combine)
    # The session checks that these are labels of this CT.
    session = RefineSession(volume, labels, bundle.label_space)
    return SegmentResult(session.labels, volume, bundle, options, {}, {}, "", source)


def _scores(bundle: Bundle, ct: Volume, options: SegmentOptions) -> NetworkScores | None:
    network = scoring_network(bundle)
    if network is None:
        return None
    return NetworkScores(network, ct, options.device)


def _source_of(ct: Path | str | Volume | sitk.Image, options: SegmentOptions) -> CTSource:
    series = None if options.series is None else str(options.series)
    if isinstance(ct, (str, os.PathLike)):
        return CTSource(Path(ct), series)
    return CTSource(None, series)


class _Start:
    """The labels to correct, and what the model said of them."""

    def __init__(self, labels: Volume, entropy: dict[str, float], precision: str) -> None:
        self.labels, self.entropy, self.precision = labels, entropy, precision


def _start(ct: Volume, labels: Path | str | Volume | SegmentResult | None, options: SegmentOptions,
           seconds: dict[str, float], reporter: Reporter) -> _Start:
    if isinstance(labels, SegmentResult):
        return _Start(labels.labels, dict(labels.entropy), labels.precision)
    if isinstance(labels, Volume):
        return _Start(labels, {}, "")
    if labels is not None:
        try:
            return _Start(read_labelmap(labels, reporter), {}, "")
        except UserError as error:
            raise error.within("labels") from None
    from ..segmenting.segmenter import Segmenter

    segmented = Segmenter(options)(ct, reporter=reporter)
    seconds |= {name: value for name, value in segmented.seconds.items() if name != "read"}
    return _Start(segmented.labels, dict(segmented.entropy), segmented.precision)


def _series_uid(source: CTSource, reporter: Reporter) -> str | None:
    """The CT's Series Instance UID, where it is DICOM: stroke files may name it."""
    if source.path is None:
        return None
    from ..formats.dicom_slices import holds_dicom, looks_like_dicom

    is_dicom = holds_dicom(source.path) if source.path.is_dir() else looks_like_dicom(source.path)
    if not is_dicom:
        return None
    try:
        return str(source.dicom(reporter).headers[0].SeriesInstanceUID)
    except UserError:  # it could be read as a CT: strokes that name a series are then taken at their word
        return None
