"""Table 1 of Zhou 2019 (arXiv v1): a prior of organ sizes from few full labels, and three partially labelled sets."""

from __future__ import annotations

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.organs import BTCV13

from .table import SCRATCH, Claim, DataSet, Published, Row, Table

SMALL_ORGANS = ("spleen", "right_kidney", "left_kidney", "liver", "stomach", "pancreas")
SETS = (DataSet("F", Kind.FULL, 3), DataSet("A", Kind.PARTIAL, 5, ("spleen",)),
        DataSet("B", Kind.PARTIAL, 5, ("pancreas",)), DataSet("C", Kind.PARTIAL, 5, ("liver",)))
TITLES = {"semi": "semi", "partial": "partial", "pann": "PaNN"}


def pann() -> Table:
    """The 3D half, which has the union of the partial sets alone."""
    # The same steps as the others', in one stage: nothing else is there to learn from in a second one.
    first_stage = "stages=[{name: full, steps: 80000, use: [full]}]"
    rows = [Row("full", "full labels alone", "pann_3d", ("F",), Published(.7066), (first_stage,))]
    for method, recipe, figure in (("semi", "semi", .7193), ("partial", "partial", .7163), ("pann", "pann_3d", .7208)):
        rows.append(Row(f"{method}_abc", f"{TITLES[method]} ABC", recipe, ("F", *"ABC"), Published(figure)))
    rows.append(Row("own", "partialorganseg", "partialorganseg", ("F", "A", "B", "C"), changes=(SCRATCH,)))
    return Table(
        "pann", "Prior-aware network: few full labels, three partially labelled sets",
        "Zhou 2019 (arXiv v1), table 1: BTCV, 13 organs, 3D U-Net", "pann_3d", BTCV13.names, SMALL_ORGANS,
        SETS, tuple(rows),
        (*_claims(""), Claim("own", "full"), Claim("own", "semi_abc"), Claim("own", "partial_abc"),
         Claim("own", "pann_abc")))


def pann_2d() -> Table:
    """The 2D half: two backbones, each partial set alone and their union."""
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
        rows.append(Row(f"{key}_full", f"full labels alone{ending}", "pann_2d", ("F",), Published(figures["full"][0]),
                        (backbone, first_stage)))
        for method, title in TITLES.items():
            for sets, figure in zip(("A", "B", "C", "ABC"), figures[method], strict=True):
                rows.append(Row(f"{key}_{method}_{sets.lower()}", f"{title} {sets}{ending}", f"{method}_2d",
                                ("F", *sets), Published(figure), (backbone,)))
        claims += _claims(f"{key}_")
    claims.append(Claim("r101_pann_abc", "r50_pann_abc"))
    return Table(
        "pann_2d", "Prior-aware network, slice by slice: few full labels, three partially labelled sets",
        "Zhou 2019 (arXiv v1), table 1: BTCV, 13 organs, DeepLabV3+", "pann_2d", BTCV13.names, SMALL_ORGANS,
        SETS, tuple(rows), tuple(claims),
        # The recipe's own network with a quarter of the channels, on slices fine enough for its sixteenths.
        {"preprocessing.spacing_zyx": [8.0, 4.0, 4.0], "preprocessing.patch_zyx": [1, 64, 96], "batch_size": 4,
         "network": {"name": "deeplabv3plus_resnet50", "arguments": {"width": 16, "features": 64}}})


def _claims(key: str) -> list[Claim]:
    return [Claim(f"{key}semi_abc", f"{key}full"), Claim(f"{key}partial_abc", f"{key}semi_abc"),
            Claim(f"{key}pann_abc", f"{key}partial_abc"), Claim(f"{key}pann_abc", f"{key}full")]
