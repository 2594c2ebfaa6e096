"""A CT and strokes into corrected labels: reads what was given, segments where no labels are, corrects once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.ct_input import as_ct
from ..formats.reading import read_labelmap
from ..formats.strokes import Strokes, read_strokes
from ..formats.strokes_image import drawn_on
from ..imaging.volume import Volume
from ..models.ensemble import load_models
from ..segmenting.options import SegmentOptions, in_label_order
from ..segmenting.result import CTSource, SegmentResult
from ..segmenting.result_files import result_files
from .earlier_strokes import strokes_beside
from .label_meaning import refuse_other_model, refuse_other_organs
from .result import RefineResult, kept_labels
from .session import RefineSession
from .stroke_input import StrokeSource, painted_strokes

if TYPE_CHECKING:
    import SimpleITK as sitk

    from ..models.bundle import Bundle


def refine(ct: Path | str | Volume | sitk.Image, strokes: StrokeSource, *,
           labels: Path | str | Volume | SegmentResult | None = None, accepted: Sequence[str] = (),
           options: SegmentOptions | None = None, reporter: Reporter | None = None) -> RefineResult:
    """Corrects the labels of one CT where strokes contradict them; see `RefineSession`.

    `labels`: those to correct, None to segment the CT first with the `options`. `options.model` says what label values
    mean; its organs are the ones that may be drawn. `accepted`: organs that nothing but a stroke may change. Strokes
    that a correction before kept beside a file of `labels` go on counting.

    Raises UserError for what is not one CT in HU, for labels or strokes that do not fit it or are of another model's
    organs, and an unknown organ.
    """
    options = options or SegmentOptions()
    reporter = reporter or Reporter()
    bundle = load_models(options.model, options.combine)
    try:
        organs = in_label_order(accepted, bundle.label_space)
    except UserError as error:
        raise error.within("accepted") from None
    source = _source_of(ct, options)
    since = time.perf_counter()
    volume = as_ct(ct, series=source.series, force=options.force, reporter=reporter)
    seconds = {"read": time.perf_counter() - since}
    uid, drawn = None, _stroke_file(strokes)
    if drawn is not None:
        uid = _series_uid(source, drawn, reporter)
        if uid is None:
            _warn_of_another_image(drawn, source, reporter)
    # Now, so that a stroke that does not fit the CT shows before minutes of segmenting.
    painted = painted_strokes(strokes, volume.grid, bundle.label_space, uid)
    earlier = None
    if isinstance(labels, (str, os.PathLike)):
        refuse_other_organs(Path(labels), bundle)
        earlier = strokes_beside(Path(labels), volume.grid, bundle.label_space)
    start = _start(volume, labels, bundle, options, seconds, reporter)
    before = start.labels.in_order_of(volume.grid)
    session = RefineSession(volume, before, bundle.label_space, organs)
    if earlier is not None:
        z, y, x = volume.grid.shape
        session.take_over((slice(0, z), slice(0, y), slice(0, x)), session.labels.array, earlier.array, organs)
    since = time.perf_counter()
    correction = session.add(painted, lambda done, total: reporter.progress("strokes", done, total))
    seconds["refine"] = time.perf_counter() - since
    result = SegmentResult(correction.labels, volume, bundle, options, start.entropy, seconds, start.precision, source)
    return RefineResult(result, before, session.strokes, correction, earlier)


def restored(ct: Path | str | Volume | sitk.Image, folder: Path, name: str, options: SegmentOptions,
             reporter: Reporter) -> SegmentResult:
    """The CT with the labels that its latest correction, called `name` in `folder`, replaced. Raises UserError where
    none were kept, and for those of another CT."""
    labels = kept_labels(folder, name)
    source = _source_of(ct, options)
    volume = as_ct(ct, series=source.series, force=options.force, reporter=reporter)
    bundle = load_models(options.model, options.combine)
    refuse_other_organs(result_files(folder, name, preview=False)["labelmap"], bundle, all_listed=True)
    # The session checks that these are labels of this CT.
    session = RefineSession(volume, labels, bundle.label_space)
    return SegmentResult(session.labels, volume, bundle, options, {}, {}, "", source)


def _source_of(ct: Path | str | Volume | sitk.Image, options: SegmentOptions) -> CTSource:
    series = None if options.series is None else str(options.series)
    if isinstance(ct, (str, os.PathLike)):
        return CTSource(Path(ct), series)
    return CTSource(None, series)


class _Start:
    """The labels to correct, and what the model said of them."""

    def __init__(self, labels: Volume, entropy: dict[str, float], precision: str) -> None:
        self.labels, self.entropy, self.precision = labels, entropy, precision


def _start(ct: Volume, labels: Path | str | Volume | SegmentResult | None, bundle: Bundle, options: SegmentOptions,
           seconds: dict[str, float], reporter: Reporter) -> _Start:
    if isinstance(labels, SegmentResult):
        refuse_other_model(labels.bundle, bundle)
        return _Start(labels.labels, dict(labels.entropy), labels.precision)
    if isinstance(labels, Volume):
        return _Start(labels, {}, "")
    if labels is not None:
        if not isinstance(labels, (str, os.PathLike)):
            raise UserError(code=Code.VALUE_UNFIT, subject="labels", found=type(labels).__name__,
                            expected="a file, a Volume or a SegmentResult")
        try:
            return _Start(read_labelmap(labels, reporter), {}, "")
        except UserError as error:
            raise error.within("labels") from None
    from ..segmenting.segmenter import Segmenter

    segmented = Segmenter(options)(ct, reporter=reporter)
    seconds |= {name: value for name, value in segmented.seconds.items() if name != "read"}
    return _Start(segmented.labels, dict(segmented.entropy), segmented.precision)


def _stroke_file(strokes: StrokeSource) -> Strokes | None:
    """Strokes that say which image they were drawn on, where they do; a map has its grid alone."""
    if isinstance(strokes, (str, os.PathLike)) and str(strokes).lower().endswith(".json"):
        return read_strokes(strokes)
    return strokes if isinstance(strokes, Strokes) else None


def _warn_of_another_image(strokes: Strokes, source: CTSource, reporter: Reporter) -> None:
    """Files are renamed and moved, so a name alone refuses nothing."""
    if source.path is None or drawn_on(strokes, source.path):
        return
    reporter.warning(Problem(Code.GEOMETRY_DIFFERS, "strokes", f"some that were drawn on {source.path.name}",
                             f"'{strokes.image}' as their image", "look whether they belong to this CT"))


def _series_uid(source: CTSource, strokes: Strokes, reporter: Reporter) -> str | None:
    """The CT's Series Instance UID, where it is DICOM and the strokes say which one they belong to."""
    if strokes.series_uid is None or source.path is None:
        return None
    from ..formats.dicom_slices import holds_dicom, looks_like_dicom

    is_dicom = holds_dicom(source.path) if source.path.is_dir() else looks_like_dicom(source.path)
    if not is_dicom:
        return None
    return str(source.dicom(reporter).headers[0].SeriesInstanceUID)
