"""The papers' tables: which data sets a row sees, with which shipped recipe, the published figure, and the claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.organs import BTCV13, SHI5, WORD16

SCRATCH = "start_from=null"  # our own recipe without the embedded model, which no other row starts from


@dataclass(frozen=True)
class DataSet:
    """Cases annotated in one way. `share`: of the training cases, against the other sets' shares.

    `organs`: those annotated (partial sets). `same_cases_as`: another set whose cases this one annotates differently.
    """

    name: str
    kind: Kind
    share: int = 1
    organs: tuple[str, ...] = ()
    same_cases_as: str | None = None


@dataclass(frozen=True)
class Row:
    """A shipped recipe with `changes` ("key=value", as for `partialorganseg train --set`) on some data sets.

    `published`: the paper's mean Dice. `organs`: the label space where it is not the table's; they are
    the first of the table's. `unlabelled_is_background`: partial sets are taken for fully labelled ones.
    """

    key: str
    title: str
    recipe: str
    datasets: tuple[str, ...]
    published: float | None = None
    changes: tuple[str, ...] = ()
    organs: tuple[str, ...] = ()
    unlabelled_is_background: bool = False


@dataclass(frozen=True)
class Claim:
    """Row `better` has the higher mean Dice than row `worse`."""

    better: str
    worse: str


@dataclass(frozen=True)
class Table:
    """One paper's table. `recipe`: the one whose number of steps every row gets with the full budget.

    `small_organs`, `small_steps` and `small` (recipe settings): what the small budget takes instead.
    """

    key: str
    title: str
    source: str
    recipe: str
    organs: tuple[str, ...]
    small_organs: tuple[str, ...]
    datasets: tuple[DataSet, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    small: Mapping[str, object] = field(default_factory=dict)
    small_steps: int = 2000


ZHOU_SMALL_ORGANS = ("spleen", "right_kidney", "left_kidney", "liver", "stomach", "pancreas")
ZHOU_SETS = (DataSet("F", Kind.FULL, 3), DataSet("A", Kind.PARTIAL, 5, ("spleen",)),
             DataSet("B", Kind.PARTIAL, 5, ("pancreas",)), DataSet("C", Kind.PARTIAL, 5, ("liver",)))
ZHOU_TITLES = {"semi": "semi", "partial": "partial", "pann": "PaNN"}


def _pann() -> Table:
    """The 3D half of Zhou's table 1, which has the union of the partial sets alone."""
    # The same steps as the others', in one stage: nothing else is there to learn from in a second one.
    first_stage = "stages=[{name: full, steps: 80000, use: [full]}]"
    rows = [Row("full", "full labels alone", "pann_3d", ("F",), .7066, (first_stage,))]
    for method, recipe, figure in (("semi", "semi", .7193), ("partial", "partial", .7163), ("pann", "pann_3d", .7208)):
        rows.append(Row(f"{method}_abc", f"{ZHOU_TITLES[method]} ABC", recipe, ("F", *"ABC"), figure))
    rows.append(Row("own", "partialorganseg", "partialorganseg", ("F", "A", "B", "C"), None, (SCRATCH,)))
    return Table(
        "pann", "Prior-aware network: few full labels, three partially labelled sets",
        "Zhou 2019 (arXiv v1), table 1: BTCV, 13 organs, 3D U-Net", "pann_3d", BTCV13.names, ZHOU_SMALL_ORGANS,
        ZHOU_SETS, tuple(rows),
        (*_zhou_claims(""), Claim("own", "full"), Claim("own", "semi_abc"), Claim("own", "partial_abc"),
         Claim("own", "pann_abc")))


def _pann_2d() -> Table:
    """The 2D half of it: two backbones, each partial set alone and their union."""
    published = {
        50: {"full": (.7535,), "semi": (.7593, .7632, .7596, .7669), "partial": (.7650, .7662, .7631, .7705),
             "pann": (.7716, .7712, .7705, .7833)},
        101: {"full": (.7614,), "semi": (.7637, .7649, .7647, .7719), "partial": (.7714, .7695, .7684, .7735),
              "pann": (.7770, .7819, .7748, .7904)}}
    first_stage = "stages=[{name: full, steps: 40000, use: [full]}]"
    rows: list[Row] = []
    claims: list[Claim] = []
    for depth, figures in published.items():
        backbone = f"network.name=deeplabv3plus_resnet{depth}"
        key, ending = f"r{depth}", f", ResNet-{depth}"
        rows.append(Row(f"{key}_full", f"full labels alone{ending}", "pann_2d", ("F",), figures["full"][0],
                        (backbone, first_stage)))
        for method, title in ZHOU_TITLES.items():
            for sets, figure in zip(("A", "B", "C", "ABC"), figures[method], strict=True):
                rows.append(Row(f"{key}_{method}_{sets.lower()}", f"{title} {sets}{ending}", f"{method}_2d",
                                ("F", *sets), figure, (backbone,)))
        claims += _zhou_claims(f"{key}_")
    claims.append(Claim("r101_pann_abc", "r50_pann_abc"))
    return Table(
        "pann_2d", "Prior-aware network, slice by slice: few full labels, three partially labelled sets",
        "Zhou 2019 (arXiv v1), table 1: BTCV, 13 organs, DeepLabV3+", "pann_2d", BTCV13.names, ZHOU_SMALL_ORGANS,
        ZHOU_SETS, tuple(rows), tuple(claims),
        # The recipe's own network with a quarter of the channels, on slices fine enough for its sixteenths.
        {"preprocessing.spacing_zyx": [8.0, 4.0, 4.0], "preprocessing.patch_zyx": [1, 64, 96], "batch_size": 4,
         "network": {"name": "deeplabv3plus_resnet50", "arguments": {"width": 16, "features": 64}}})


def _zhou_claims(key: str) -> list[Claim]:
    return [Claim(f"{key}semi_abc", f"{key}full"), Claim(f"{key}partial_abc", f"{key}semi_abc"),
            Claim(f"{key}pann_abc", f"{key}partial_abc"), Claim(f"{key}pann_abc", f"{key}full")]


def _marginal() -> Table:
    organs = SHI5.names
    # F is the small fully labelled set, P1 to P4 are labelled with one organ each (the kidneys count as one).
    everything = ("F", "P1", "P2", "P3", "P4")
    return Table(
        "marginal", "Marginal and exclusion loss: few full labels, four single-organ sets",
        "Shi 2021, tables 3 and 7: mean over organs and data sets, CE + Dice; 3D nnU-Net",
        "marginal", organs, organs,
        (DataSet("F", Kind.FULL, 2), DataSet("P1", Kind.PARTIAL, 4, ("liver",)),
         DataSet("P2", Kind.PARTIAL, 4, ("spleen",)), DataSet("P3", Kind.PARTIAL, 4, ("pancreas",)),
         DataSet("P4", Kind.PARTIAL, 4, ("left_kidney", "right_kidney"))),
        (Row("full", "F alone", "marginal", ("F",), .874),
         # What pooling the sets without any thought gives: the same recipe, with organs taught to be background.
         Row("naive", "unlabelled = background", "marginal", everything, unlabelled_is_background=True),
         Row("marginal", "marginal", "marginal", everything, .921),
         Row("exclusion", "marginal + exclusion", "marginal_exclusion", everything, .931),
         Row("own", "partialorganseg", "partialorganseg", everything, None, (SCRATCH,))),
        (Claim("marginal", "full"), Claim("marginal", "naive"), Claim("exclusion", "naive"),
         Claim("exclusion", "marginal"), Claim("exclusion", "full"), Claim("own", "full"),
         Claim("own", "marginal"), Claim("own", "exclusion")))


def _pipo() -> Table:
    organs = ("liver", "left_kidney", "right_kidney", "spleen")
    rows = [Row(key, " + ".join(sets), "pipo_fan", sets, figure) for key, sets, figure in (  # table II
        ("btcv", ("BTCV",), .936), ("btcv_lits", ("BTCV", "LiTS"), .942), ("btcv_kits", ("BTCV", "KiTS"), .935),
        ("btcv_spleen", ("BTCV", "Spleen"), .944), ("single_organs", ("LiTS", "KiTS", "Spleen"), .937),
        ("all", ("BTCV", "LiTS", "KiTS", "Spleen"), .944))]
    for inputs, outputs, figure in ((1, 1, .941), (3, 1, .949), (5, 1, .945), (3, 3, .951), (5, 3, .953), (5, 5, .956)):
        changes = (f"network.arguments.input_scales={inputs}", f"network.arguments.output_scales={outputs}",
                   f"stages.0.deep_supervision.weights={[1.0] * outputs}")
        if outputs == 1:  # nothing to fuse
            changes = (*changes[:2], "stages=[{name: deep supervision, steps: 32500, phase: deep_supervision, "
                                     "deep_supervision: {weights: [1.0], pooled: true}}]")
        rows.append(Row(f"scales_{inputs}_{outputs}", f"LiTS, liver, ({inputs}, {outputs}) scales", "pipo_fan_single",
                        ("LiTS",), figure, changes, ("liver",)))  # table VII
    # Ours sees all data sets, as the paper's own best row does.
    rows.append(Row("own", "partialorganseg", "partialorganseg", rows[5].datasets, None, (SCRATCH,)))
    return Table(
        "pipo", "PIPO-FAN and target adaptive loss: single-organ sets pooled, and numbers of scales",
        "Fang 2020, tables II (mean of liver, kidney, spleen on BTCV) and VII (liver on LiTS)",
        "pipo_fan", organs, organs,
        (DataSet("BTCV", Kind.FULL, 3), DataSet("LiTS", Kind.PARTIAL, 5, ("liver",)),
         DataSet("KiTS", Kind.PARTIAL, 5, ("left_kidney", "right_kidney")),
         DataSet("Spleen", Kind.PARTIAL, 5, ("spleen",))),
        tuple(rows),
        (Claim("all", "btcv"), Claim("single_organs", "btcv"), Claim("scales_5_5", "scales_1_1"),
         Claim("scales_5_5", "scales_5_1"), Claim("own", "btcv"), Claim("own", "all")),
        # The recipe's own network with an eighth of the channels, on slices fine enough for its five levels.
        {"preprocessing.spacing_zyx": [8.0, 6.0, 6.0], "preprocessing.patch_zyx": [3, 48, 64], "batch_size": 8,
         "network": {"name": "pipo_fan", "arguments": {"channels": [8, 16, 32, 64, 64]}}})


def _word() -> Table:
    organs = WORD16.names
    # Dense labels and strokes are of the same cases: what is compared is the annotation alone.
    rows = [Row(key, title, f"scribble_{key}", ("scribbles",), figure) for key, title, figure in (  # table 6
        ("pce", "pCE", .7206), ("crf", "pCE + CRF", .7191), ("em", "pCE + EM", .7390), ("ivm", "pCE + IVM", .7499),
        ("em_ivm", "pCE + EM + IVM", .7681))]
    rows += [Row("dense", "dense labels, CE + Dice", "scribble_dense", ("dense",), .8667),
             Row("own", "partialorganseg", "partialorganseg", ("scribbles",), None, (SCRATCH,))]
    return Table(
        "word", "Learning from scribbles", "Luo 2021, table 6: WORD, 16 organs, 2D ResU-Net", "scribble_pce",
        organs, ("liver", "spleen", "left_kidney", "right_kidney", "stomach", "colon", "bladder",
                 "head_of_left_femur", "head_of_right_femur"),
        (DataSet("scribbles", Kind.SCRIBBLE), DataSet("dense", Kind.FULL, same_cases_as="scribbles")),
        tuple(rows),
        (Claim("em", "pce"), Claim("ivm", "pce"), Claim("em_ivm", "em"), Claim("em_ivm", "ivm"),
         Claim("em_ivm", "pce"), Claim("dense", "em_ivm"), Claim("own", "pce"), Claim("own", "em_ivm")),
        small_steps=1500)


TABLES = {table.key: table for table in (_pann(), _pann_2d(), _marginal(), _pipo(), _word())}
