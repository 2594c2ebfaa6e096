"""The panel's settings, kept in the scene's parameter node. Widgets name theirs in the property SlicerParameterName.

Each section has one pack; `segment.device` in a .ui file means the field `device` of the pack `segment`.

A scene of an earlier version lacks what was added to a pack since. Slicer reads that as an empty text, which only texts
and bools bear: a new number or choice needs a pack of its own.
"""

import enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper, parameterPack


class EarlierResult(enum.Enum):
    """What becomes of an earlier segmentation of the same CT."""

    ASK = "ask"
    REPLACE = "replace"
    ADD = "add"

    def label(self) -> str:
        """Text in the combo box."""
        return {EarlierResult.ASK: _("ask"), EarlierResult.REPLACE: _("replace it"),
                EarlierResult.ADD: _("keep it, add another")}[self]


class Plot(enum.Enum):
    """What the plot view shows of a fine-tuning run."""

    LOSS = "loss"
    DICE = "dice"
    NONE = "none"

    def label(self) -> str:
        """Text in the combo box."""
        return {Plot.LOSS: _("loss"), Plot.DICE: _("Dice per organ"), Plot.NONE: _("nothing")}[self]


class ExportFormat(enum.Enum):
    """What an export writes, in the command's words."""

    RTSTRUCT = "rtstruct"
    SEG = "seg"
    NIFTI = "nifti"

    def label(self) -> str:
        """Text in the combo box."""
        return {ExportFormat.RTSTRUCT: _("RT structure set (DICOM)"), ExportFormat.SEG: _("DICOM SEG"),
                ExportFormat.NIFTI: _("NIfTI label map")}[self]


class ExportOrgans(enum.Enum):
    """Which organs an export writes."""

    ACCEPTED = "accepted"
    ALL = "all"

    def label(self) -> str:
        """Text in the combo box."""
        return {ExportOrgans.ACCEPTED: _("accepted organs"), ExportOrgans.ALL: _("all organs")}[self]


@parameterPack
class SegmentParameters:
    """Section Segment. `fast`: on a coarser grid. `organs`: names, used when `someOrgans`. `server`: address of another
    computer that segments, empty for this one; `tokenFile` and `authority`, a certificate to trust, are for it."""

    model: str = "embedded"
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    fast: bool = False
    someOrgans: bool = False
    organs: list[str]
    earlier: EarlierResult = EarlierResult.ASK
    server: str = ""
    tokenFile: str = ""
    authority: str = ""


@parameterPack
class ReviewParameters:
    """Section Review. `advance`: go on to the next organ after a decision."""

    advance: bool = True


@parameterPack
class ScribbleParameters:
    """Section Scribble. `organ`: name of what is drawn, also "background"; `dim`: the prediction is shown dimly."""

    organ: str = ""
    brushMm: Annotated[float, WithinRange(0.5, 50.0)] = 4.0
    dim: bool = True


@parameterPack
class ExportParameters:
    """Section Export."""

    format: ExportFormat = ExportFormat.RTSTRUCT
    organs: ExportOrgans = ExportOrgans.ACCEPTED


@parameterPack
class WorkListParameters:
    """Section Work list. `source`: of the case that was opened last. `unsureFirst`: the list begins with the case of
    which the model is least sure."""

    source: str = ""
    unsureFirst: bool = False


@parameterPack
class FineTuneParameters:
    """Section Fine-tune. `minutes` 0: as long as the library thinks right; `steps` above 0 instead. `name`: the new
    model's, `recipe`: a file, `replay`: phantoms, none or a manifest; all may be empty. `measure`: Dice before and
    after. `folder` holds the runs; `run` is the folder of the latest one. `keepCopies`: a finished run keeps its copies
    of CTs."""

    model: str = "embedded"
    name: str = ""
    minutes: Annotated[float, WithinRange(0.0, 1440.0)] = 0.0
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    recipe: str = ""
    steps: Annotated[int, WithinRange(0, 100000)] = 0
    replay: str = ""
    measure: bool = True
    folder: str = ""
    keepCopies: bool = False
    run: str = ""
    plot: Plot = Plot.LOSS


@parameterNodeWrapper
class Parameters:
    """`inputVolume` is the CT at hand and `segmentation` its segmentation, for all sections; `compareVolume` is the CT
    that section Fine-tune shows before and after."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    compareVolume: slicer.vtkMRMLScalarVolumeNode
    segment: SegmentParameters
    review: ReviewParameters
    scribble: ScribbleParameters
    export: ExportParameters
    worklist: WorkListParameters
    finetune: FineTuneParameters
