"""Tables II to V and VII of Fang 2020: PIPO-FAN and other 2D networks on pooled and on single data sets."""

from __future__ import annotations

from PartialOrganSegLib.annotation import Kind

from .table import SCRATCH, Claim, DataSet, Published, Row, Table

ORGANS = ("liver", "left_kidney", "right_kidney", "spleen")
ALL = ("BTCV", "LiTS", "KiTS", "Spleen")
# Steps of both phases of the multi-organ and of the single-organ recipe, for rows that have one phase alone.
STEPS, SINGLE_STEPS = 200_000, 32_500
# Other networks have no phases and one output. Three slices, as PIPO-FAN.
PLAIN = "stages=[{{name: training, steps: {steps}}}]"
NETWORKS = {
    "unet": ("network.arguments.input_scales=1", "network.arguments.output_scales=1",
             "network.arguments.residual=false"),
    "resunet": ("network.arguments.input_scales=1", "network.arguments.output_scales=1"),
    "dense_unet": ("network={name: dense_unet_2d, arguments: {slices: 3}}",),
    "deeplab": ("network={name: deeplabv3_resnet18, arguments: {slices: 3}}",),
    "pipo": ("network.arguments.phase=deep_supervision",)}
TITLES = {"unet": "U-Net", "resunet": "ResU-Net, (1, 1) scales", "dense_unet": "Dense U-Net", "deeplab": "DeepLabV3",
          "pipo": "PIPO, (5, 5) scales without fusion"}
# An eighth of the channels with the small budget. A Dense U-Net halves the size five times: as many voxels in slices
# whose sizes bear it.
SMALL = {"deeplab": ("network.arguments.width=8", "network.arguments.features=32"),
         "dense_unet": ("network.arguments.growth=4", "network.arguments.features=8",
                        "preprocessing.patch_zyx=[3, 64, 64]", "batch_size=6")}


def pipo() -> Table:
    """Tables II and VII: which data sets are pooled, and how many scales enter and leave."""
    rows = [Row(key, " + ".join(sets), "pipo_fan", sets, Published(figure)) for key, sets, figure in (  # table II
        ("btcv", ("BTCV",), .936), ("btcv_lits", ("BTCV", "LiTS"), .942), ("btcv_kits", ("BTCV", "KiTS"), .935),
        ("btcv_spleen", ("BTCV", "Spleen"), .944), ("single_organs", ("LiTS", "KiTS", "Spleen"), .937),
        ("all", ALL, .944))]
    for inputs, outputs, figure in ((1, 1, .941), (3, 1, .949), (5, 1, .945), (3, 3, .951), (5, 3, .953), (5, 5, .956)):
        changes = (f"network.arguments.input_scales={inputs}", f"network.arguments.output_scales={outputs}",
                   f"stages.0.deep_supervision.weights={[1.0] * outputs}")
        if outputs == 1:  # nothing to fuse
            changes = (*changes[:2], _deep_supervision(1, SINGLE_STEPS))
        rows.append(Row(f"scales_{inputs}_{outputs}", f"LiTS, liver, ({inputs}, {outputs}) scales", "pipo_fan_single",
                        ("LiTS",), Published(figure), changes, ("liver",)))  # table VII
    # Ours sees all data sets, as the paper's own best row does.
    rows.append(Row("own", "partialorganseg", "partialorganseg", ALL, changes=(SCRATCH,)))
    return Table(
        "pipo", "PIPO-FAN and target adaptive loss: single-organ sets pooled, and numbers of scales",
        "Fang 2020, tables II (mean of liver, kidney, spleen on BTCV) and VII (liver on LiTS)",
        "pipo_fan", ORGANS, ORGANS, _data_sets(), tuple(rows),
        (Claim("all", "btcv"), Claim("single_organs", "btcv"), Claim("scales_5_5", "scales_1_1"),
         Claim("scales_5_5", "scales_5_1"), Claim("own", "btcv"), Claim("own", "all")),
        small_settings())


def pipo_networks() -> Table:
    """Tables III (BTCV alone), IV (all data sets) and V (LiTS): PIPO-FAN against other networks on equal steps."""
    rows = [Row("btcv", "BTCV, PIPO-FAN, (5, 5) scales", "pipo_fan", ("BTCV",), Published(.936))]
    rows += _other_networks("btcv", ("BTCV",), {"unet": .921, "resunet": .924, "deeplab": .892, "pipo": .928})
    rows.append(Row("all", "all data sets, PIPO-FAN, (5, 5) scales", "pipo_fan", ALL, Published(.944)))
    # The paper has no ResU-Net here; without it, (5, 5) against (1, 1) on all data sets could not be said.
    rows += _other_networks("all", ALL, {"unet": .940, "resunet": None, "deeplab": .915})
    rows += _other_networks("lits", ("LiTS",), {"unet": .939, "dense_unet": .941, "pipo": .953})
    claims = [Claim("btcv", f"btcv_{name}") for name in ("resunet", "unet", "deeplab", "pipo")]
    claims += [Claim("all", f"all_{name}") for name in ("resunet", "unet", "deeplab")]
    claims += [Claim("lits_pipo", f"lits_{name}") for name in ("unet", "dense_unet")]
    return Table(
        "pipo_networks", "PIPO-FAN against other 2D networks, on one and on all data sets",
        "Fang 2020, tables III (BTCV), IV (all data sets) and V (liver, LiTS)", "pipo_fan", ORGANS, ORGANS,
        _data_sets(), tuple(rows), tuple(claims), small_settings(), runs_of="pipo")


def _other_networks(key: str, sets: tuple[str, ...], figures: dict[str, float | None]) -> list[Row]:
    """Rows of networks beside PIPO-FAN on some data sets; LiTS has the liver alone, with the recipe for one organ."""
    recipe, organs, steps, title = "pipo_fan", (), STEPS, " + ".join(sets)
    if key == "lits":
        recipe, organs, steps, title = "pipo_fan_single", ("liver",), SINGLE_STEPS, "LiTS, liver"
    if sets == ALL:
        title = "all data sets"
    rows = []
    for name, figure in figures.items():
        stages = PLAIN.format(steps=steps)
        if name in ("unet", "resunet"):
            stages = _deep_supervision(1, steps)
        if name == "pipo":
            stages = _deep_supervision(5, steps)
        rows.append(Row(f"{key}_{name}", f"{title}, {TITLES[name]}", recipe, sets, Published(figure),
                        (*NETWORKS[name], stages), organs, small=SMALL.get(name, ())))
    return rows


def _deep_supervision(outputs: int, steps: int) -> str:
    """The first phase alone."""
    return (f"stages=[{{name: deep supervision, steps: {steps}, phase: deep_supervision, "
            f"deep_supervision: {{weights: {[1.0] * outputs}, pooled: true}}}}]")


def _data_sets() -> tuple[DataSet, ...]:
    return (DataSet("BTCV", Kind.FULL, 3), DataSet("LiTS", Kind.PARTIAL, 5, ("liver",)),
            DataSet("KiTS", Kind.PARTIAL, 5, ("left_kidney", "right_kidney")),
            DataSet("Spleen", Kind.PARTIAL, 5, ("spleen",)))


def small_settings() -> dict[str, object]:
    """What the small budget has of PIPO-FAN's recipes."""
    # The recipe's own network with an eighth of the channels, on slices fine enough for its five levels.
    return {"preprocessing.spacing_zyx": [8.0, 6.0, 6.0], "preprocessing.patch_zyx": [3, 48, 64], "batch_size": 8,
            "network": {"name": "pipo_fan", "arguments": {"channels": [8, 16, 32, 64, 64]}}}
