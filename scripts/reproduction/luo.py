"""Tables 2, 3, 6 and 7 of Luo 2021 (WORD, 16 organs): networks on full labels, and losses on scribbles."""

from __future__ import annotations

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.organs import WORD16

from .table import SCRATCH, Claim, DataSet, Published, Row, Table

SMALL_ORGANS = ("liver", "spleen", "left_kidney", "right_kidney", "stomach", "colon", "bladder", "head_of_left_femur",
                "head_of_right_femur")


def word() -> Table:
    """Scribbles: pCE, with CRF, EM and IVM, and dense labels."""
    # Dense labels and strokes are of the same cases: what is compared is the annotation alone.
    rows = [Row(key, title, f"scribble_{key}", ("scribbles",), Published(dice, hd95)) for key, title, dice, hd95 in (
        ("pce", "pCE", .7206, 27.11), ("crf", "pCE + CRF", .7191, 16.76), ("em", "pCE + EM", .7390, 25.95),
        ("ivm", "pCE + IVM", .7499, 19.03), ("em_ivm", "pCE + EM + IVM", .7681, 13.83))]
    rows += [Row("dense", "dense labels, CE + Dice", "scribble_dense", ("dense",), Published(.8667, 8.60)),
             Row("own", "partialorganseg", "partialorganseg", ("scribbles",), changes=(SCRATCH,))]
    return Table(
        "word", "Learning from scribbles", "Luo 2021, tables 6 and 7: WORD, 16 organs, 2D ResU-Net", "scribble_pce",
        WORD16.names, SMALL_ORGANS,
        (DataSet("scribbles", Kind.SCRIBBLE), DataSet("dense", Kind.FULL, same_cases_as="scribbles")),
        tuple(rows),
        (Claim("em", "pce"), Claim("ivm", "pce"), Claim("em_ivm", "em"), Claim("em_ivm", "ivm"),
         Claim("em_ivm", "pce"), Claim("dense", "em_ivm"), Claim("own", "pce"), Claim("own", "em_ivm")),
        small_steps=1500)


def word_networks() -> Table:
    """Full labels: the networks of tables 2 and 3, and our own, on the same cases."""
    levels = "network.arguments.channels=[8, 16, 32, 48]"  # a quarter of nnU-Net's, and fewer levels
    # nnU-Net v1's first trainer, which the paper's plain "nnUNet" is taken for; its "V2" is the default one.
    first_trainer = (
        "network.arguments.deep_supervision=false",
        "optimiser={name: adam, learning_rate: 0.0003, weight_decay: 0.00003, warmup_steps: 0, ema: 0.0}",
        "schedule={name: plateau, factor: 0.2, patience: 30, least_gain: 0.001, epoch_steps: 250}")
    rows = (
        _network("nnunet_v2_3d", "nnU-Net V2, 3D", "nnunet_3d", Published(.8741, 8.84), (), (levels, _strides(3))),
        _network("nnunet_3d", "nnU-Net, 3D", "nnunet_3d", Published(.8744, 10.33), first_trainer,
                 (levels, _strides(3))),
        _network("nnunet_2d", "nnU-Net, 2D", "nnunet_2d", Published(.8492, 10.79), first_trainer, (levels,)),
        _network("nnunet_v2_2d", "nnU-Net V2, 2D", "nnunet_2d", Published(.8580, 9.88), (), (levels,)),
        _network("resunet_2d", "ResU-Net, 2D", "resunet_2d", Published(.8667, 8.60), (), (levels,)),
        _network("deeplab", "DeepLabV3+", "deeplabv3plus_resnet50", Published(.8491, 9.67), (),
                 ("network.arguments={width: 16, features: 64}",)),
        _network("unet_plus_plus", "U-Net++, 2D", "unet_plus_plus_2d", Published(.8628, 12.35), (),
                 ("network.arguments.channels=[8, 16, 24, 32, 48]",)),
        _network("attention_unet", "Attention U-Net, 3D", "attention_unet_3d", Published(.8621, 7.13), (), (levels,)),
        _network("light_unet", "light U-Net, 3D (ours)", "light_unet", Published(), (),
                 ("network.arguments={channels: [16, 32, 48, 64], norm: instance}",)))
    return Table(
        "word_networks", "Networks on full labels", "Luo 2021, tables 2 and 3: WORD, 16 organs", "full",
        WORD16.names, SMALL_ORGANS, (DataSet("dense", Kind.FULL),), rows,
        (Claim("nnunet_v2_3d", "nnunet_v2_2d"), Claim("nnunet_3d", "nnunet_2d"), Claim("nnunet_v2_3d", "nnunet_3d"),
         Claim("resunet_2d", "nnunet_v2_2d"), Claim("resunet_2d", "deeplab"), Claim("nnunet_v2_3d", "attention_unet")),
        small_steps=1500)


def _network(key: str, title: str, name: str, published: Published, changes: tuple[str, ...],
             small: tuple[str, ...]) -> Row:
    """A network in nnU-Net's training; those of slices have the 2D recipe's patches, which take a third on foreground
    as the 3D ones do."""
    network = f"network={{name: {name}, arguments: {{}}}}"
    if name.endswith("_3d") or name == "light_unet":
        return Row(key, title, "full", ("dense",), published, (network, *changes), small=small)
    return Row(key, title, "scribble_dense", ("dense",), published, (network, "sampling.anywhere=0.67", *changes),
               small=small)


def _strides(levels: int) -> str:
    return f"network.arguments.strides={[2] * levels}"
