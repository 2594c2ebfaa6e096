"""What may be amiss with the cases of a fine-tuning, in the user's language, from the data of the command's warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _


def data_warning_text(data: Mapping[str, Any]) -> str:
    """One line; empty for a kind that a newer library has."""
    organs, values = [str(organ) for organ in data["organs"]], list(data["values"])
    texts = {
        "nothing_labelled": _("{case}: no voxel is labelled as an organ"),
        "single_slice": _("{case}: {organ} is labelled in a single slice ({count:.0f} voxels); expect little of it"),
        "mostly_drawn": _("{case}: {count:.0%} of the CT is drawn, most of it as {organ}; in a scribble file 255 means "
                          "not drawn and 0 background"),
        "no_background": _("{case}: no voxel is drawn that is not {organ}; nothing keeps it from growing, draw some "
                           "background"),
        "organ_denied": _("{case}: its full label says there is no {organ}, which {other} shows; if it was only not "
                          "drawn, make the case partial"),
        "start_model_finds": _("{case}: its label says that there is none of what the start model finds there: "
                               "{volumes}; where one was only not drawn, {mend}"),
        "same_image": _("{case} and {other} show the same image; what is left out of one is left out of both"),
        "contradiction": _("{case} and {other} show the same image and contradict each other in {count:.0f} voxels "
                           "(most: {organ} against {against}); both are learnt from"),
        "learnt_before": _("{case}: it is measured on, and the start model was fine-tuned on it before; its Dice is no "
                           "measure of patients not seen, and speaks for the start model")}
    text = texts.get(data["kind"], "")
    if data["kind"] == "nothing_labelled" and organs:
        text = _("{case}: no voxel is labelled as an organ, which teaches that there is no {absent}")
    # of those organs that have a volume: there may be fewer figures than organs
    volumes = ", ".join(_("{organ} ({ml:.0f} ml)").format(organ=organ, ml=ml)
                        for organ, ml in zip(organs, values, strict=False))
    mend, count = _("leave it out of 'annotated'"), 0
    if data["full"]:
        mend = _("make the case partial")
    if values:
        count = values[0]
    return text.format(case=data["case"], other=data["other"], organ=_alternatives(organs), mend=mend, volumes=volumes,
                       against=_alternatives(list(data["against"])), count=count, absent=_(" and no ").join(organs))


def _alternatives(organs: list[str]) -> str:
    return _(" or ").join(organs) or _("something else")
