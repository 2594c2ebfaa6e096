"""The papers' published figures, to stand beside one's own: other cases, other references, never a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..organs import BTCV13, SHI5, WORD16
from .scoring import MASK
from .summary import Row

# Sources, as METHODS and the reports name them.
SHI = "Shi 2021, Medical Image Analysis 70"
ZHOU = "Zhou 2019, arXiv v1"
FANG = "Fang 2020, IEEE TMI 39(11)"
LUO = "Luo 2021, WORD"
_KIDNEYS = ("left_kidney", "right_kidney")


@dataclass(frozen=True)
class Published:
    """A row of a paper: mean Dice (0-1) over `organs`; `distance`: "HD95 8.84 mm" and the like, as printed."""

    source: str
    task: str
    organs: tuple[str, ...]
    method: str
    dice: float
    distance: str = ""


# Backbone to the method, with the letters of its partially labelled sets, to mean Dice.
_ZHOU = {
    "ResNet-50": {
        "full": 0.7535, "semi A": 0.7593, "semi B": 0.7632, "semi C": 0.7596, "semi ABC": 0.7669, "partial A": 0.7650,
        "partial B": 0.7662, "partial C": 0.7631, "partial ABC": 0.7705, "PaNN A": 0.7716, "PaNN B": 0.7712,
        "PaNN C": 0.7705, "PaNN ABC": 0.7833},
    "ResNet-101": {
        "full": 0.7614, "semi A": 0.7637, "semi B": 0.7649, "semi C": 0.7647, "semi ABC": 0.7719, "partial A": 0.7714,
        "partial B": 0.7695, "partial C": 0.7684, "partial ABC": 0.7735, "PaNN A": 0.7770, "PaNN B": 0.7819,
        "PaNN C": 0.7748, "PaNN ABC": 0.7904},
    "3D U-Net": {"full": 0.7066, "semi ABC": 0.7193, "partial ABC": 0.7163, "PaNN ABC": 0.7208},
}

_LUO_SCRIBBLES = {"pCE": 0.7206, "pCE + CRF": 0.7191, "pCE + EM": 0.7390, "pCE + IVM": 0.7499,
                  "pCE + EM + IVM": 0.7681, "full labels": 0.8667}
_SHI = {"full set alone": (0.874, "HD 9.33"), "marginal loss": (0.921, "HD 4.43"),
        "marginal + exclusion loss": (0.931, "HD 4.02"), "PaNN": (0.906, ""), "PIPO-FAN": (0.907, "")}
_FANG = {"PIPO-FAN, BTCV alone": 0.936, "PIPO-FAN, all data sets": 0.944}


def _published() -> list[Published]:
    """All rows, paper by paper, in the order of the report."""
    rows = [Published(LUO, "WORD, 16 organs", WORD16.names, "nnU-Net 3D, full labels", 0.8744, "HD95 8.84 mm (V2)")]
    for method, dice in _LUO_SCRIBBLES.items():
        rows.append(Published(LUO, "WORD, 16 organs, from scribbles", WORD16.names, method, dice))
    for method, (dice, distance) in _SHI.items():
        rows.append(Published(SHI, "5 organs, one full and four partial sets", SHI5.names, method, dice, distance))
    for network, dice_of in _ZHOU.items():
        for method, dice in dice_of.items():
            rows.append(Published(ZHOU, "BTCV, 13 organs, 5 folds", BTCV13.names, f"{method}, {network}", dice))
    rows.append(Published(ZHOU, "BTCV, challenge test", BTCV13.names, "PaNN", 0.8497,
                          "mean surface distance 1.450, HD 18.468"))
    for method, dice in _FANG.items():
        rows.append(Published(FANG, "BTCV, liver, kidneys, spleen", ("liver", "spleen", *_KIDNEYS), method, dice))
    return rows


PUBLISHED = tuple(_published())


@dataclass(frozen=True)
class Beside:
    """A published row and our mean Dice over those of its organs that were measured; None where none was."""

    row: Published
    ours: float | None
    organs: int


def beside(rows: Sequence[Row]) -> list[Beside]:
    """Every published row with ours: the mean over organs of the organs' means, on masks only."""
    means = {}
    for row in rows:
        dice = row.figures["dice"]
        if row.measured_on == MASK and dice is not None:
            means[row.structure] = dice.mean
    table = []
    for published in PUBLISHED:
        measured = [means[organ] for organ in published.organs if organ in means]
        mean = None
        if measured:
            mean = sum(measured) / len(measured)
        table.append(Beside(published, mean, len(measured)))
    return table
