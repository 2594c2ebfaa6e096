"""The papers' published figures, to stand beside one's own: other cases, other references, never a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A row of a paper: mean Dice (0-1) over `organs`, and as far as it gives them the mean HD95 and the mean Hausdorff
    distance (the maximum), in mm."""

    source: str
    task: str
    organs: tuple[str, ...]
    method: str
    dice: float
    hd95: float | None = None
    hausdorff: float | None = None


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

# Tables 2 and 3: Dice and HD95, each network with its own. Full labels.
_LUO = {"nnU-Net V2 3D": (0.8741, 8.84), "nnU-Net 3D": (0.8744, 10.33), "nnU-Net 2D": (0.8492, 10.79),
        "nnU-Net V2 2D": (0.8580, 9.88), "ResU-Net 2D": (0.8667, 8.60), "DeepLabV3+": (0.8491, 9.67),
        "U-Net++ 2D": (0.8628, 12.35), "Attention U-Net 3D": (0.8621, 7.13)}
# Tables 6 and 7, all with the 2D ResU-Net.
_LUO_SCRIBBLES = {"pCE": (0.7206, 27.11), "pCE + CRF": (0.7191, 16.76), "pCE + EM": (0.7390, 25.95),
                  "pCE + IVM": (0.7499, 19.03), "pCE + EM + IVM": (0.7681, 13.83), "full labels": (0.8667, 8.60)}
# Tables 3, 4 and 7: the Hausdorff distance is the maximum.
_SHI = {"full set alone": (0.874, 9.33), "marginal loss": (0.921, 4.43), "marginal + exclusion loss": (0.931, 4.02),
        "PaNN": (0.906, 5.28), "PIPO-FAN": (0.907, 6.69)}
_FANG = {"PIPO-FAN, BTCV alone": 0.936, "PIPO-FAN, all data sets": 0.944}


def _published() -> list[Published]:
    """All rows, paper by paper, in the order of the report."""
    rows = []
    for method, (dice, hd95) in _LUO.items():
        rows.append(Published(LUO, "WORD, 16 organs", WORD16.names, f"{method}, full labels", dice, hd95))
    for method, (dice, hd95) in _LUO_SCRIBBLES.items():
        rows.append(Published(LUO, "WORD, 16 organs, from scribbles", WORD16.names, method, dice, hd95))
    for method, (dice, hausdorff) in _SHI.items():
        rows.append(Published(SHI, "5 organs, one full and four partial sets", SHI5.names, method, dice,
                              hausdorff=hausdorff))
    for network, dice_of in _ZHOU.items():
        for method, dice in dice_of.items():
            rows.append(Published(ZHOU, "BTCV, 13 organs, 5 folds", BTCV13.names, f"{method}, {network}", dice))
    rows.append(Published(ZHOU, "BTCV, challenge test", BTCV13.names, "PaNN", 0.8497, hausdorff=18.468))
    for method, dice in _FANG.items():
        rows.append(Published(FANG, "BTCV, liver, kidneys, spleen", ("liver", "spleen", *_KIDNEYS), method, dice))
    return rows


PUBLISHED = tuple(_published())


@dataclass(frozen=True)
class Beside:
    """A published row and our mean Dice, HD95 and Hausdorff distance over its organs; a distance is None where an organ
    has none."""

    row: Published
    ours: float
    ours_hd95: float | None = None
    ours_hausdorff: float | None = None


def beside(rows: Sequence[Row]) -> list[Beside]:
    """The published rows of whose organs every one was measured, with ours: the mean over organs of the organs' means,
    on masks only. Over some of a row's organs a mean says more of which these are than of the model."""
    means: dict[str, dict[str, float]] = {"dice": {}, "hd95_mm": {}, "hausdorff_mm": {}}
    for row in rows:
        if row.measured_on != MASK:
            continue
        for figure, of_organ in means.items():
            statistic = row.figures[figure]
            if statistic is not None:
                of_organ[row.structure] = statistic.mean
    table = []
    for published in PUBLISHED:
        ours = _mean(means["dice"], published.organs)
        if ours is not None:
            table.append(Beside(published, ours, _mean(means["hd95_mm"], published.organs),
                                _mean(means["hausdorff_mm"], published.organs)))
    return table


def _mean(means: Mapping[str, float], organs: Sequence[str]) -> float | None:
    """The mean over the organs; None where one of them has none."""
    if not all(organ in means for organ in organs):
        return None
    return sum(means[organ] for organ in organs) / len(organs)
