"""Tables 3 to 8 of Shi 2021: one fully labelled set F and four sets of one organ each, P1 to P4.

Tables 9 and 10 are of tumours, which no label space here has. Table 11 moves one patient from the test to the training
cases: how much a few test cases decide is said by every report here ("detectable").
"""

from __future__ import annotations

from statistics import mean

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.organs import SHI5

from .fang import small_settings as pipo_small
from .table import SCRATCH, Claim, DataSet, Published, Row, Table

Columns = tuple[float, ...]
F, PARTIAL = ("F",), ("P1", "P2", "P3", "P4")
EVERYTHING = (*F, *PARTIAL)
MEASURED = "mean over organs and data sets"
# Networks of one organ, or both kidneys (tables 3 and 4, CE + Dice): the organ's columns of Dice and of the Hausdorff
# distance, on F's and on the single set's test cases; first trained on the single set alone, then with F.
SINGLE: dict[str, tuple[str, tuple[str, ...], tuple[Columns, Columns], tuple[Columns, Columns]]] = {
    "liver": ("P1", ("liver",), ((.938, .904), (18.76, 4.00)), ((.960, .899), (2.63, 7.49))),
    "spleen": ("P2", ("spleen",), ((.830, .954), (25.67, 1.13)), ((.869, .945), (16.85, 1.65))),
    "pancreas": ("P3", ("pancreas",), ((.687, .728), (18.36, 5.46)), ((.823, .753), (8.16, 8.56))),
    "kidneys": ("P4", ("left_kidney", "right_kidney"),
                ((.815, .813, .924, .917), (13.66, 17.33, 1.02, 1.89)),
                ((.917, .940, .947, .950), (3.46, 10.70, 2.24, 4.66)))}
# Organs that the single labels of table 6 are of, a kidney by itself.
ANNOTATIONS = ("liver", "spleen", "pancreas", "left_kidney", "right_kidney")


def _data_sets() -> tuple[DataSet, ...]:
    # F is the small fully labelled set, P1 to P4 are labelled with one organ each (the kidneys count as one).
    return (DataSet("F", Kind.FULL, 2), DataSet("P1", Kind.PARTIAL, 4, ("liver",)),
            DataSet("P2", Kind.PARTIAL, 4, ("spleen",)), DataSet("P3", Kind.PARTIAL, 4, ("pancreas",)),
            DataSet("P4", Kind.PARTIAL, 4, ("left_kidney", "right_kidney")))


def _full() -> Row:
    return Row("full", "F alone", "marginal", F, Published(.874, hausdorff=9.33))


def _marginal_row() -> Row:
    return Row("marginal", "marginal", "marginal", EVERYTHING, Published(.921, hausdorff=4.43))


def _exclusion() -> Row:
    return Row("exclusion", "marginal + exclusion", "marginal_exclusion", EVERYTHING, Published(.931, hausdorff=4.02))


def marginal() -> Table:
    """Tables 3, 4 and 7, in short: F alone, marginal and exclusion losses, and our own."""
    return Table(
        "marginal", "Marginal and exclusion loss: few full labels, four single-organ sets",
        f"Shi 2021, tables 3, 4 and 7: {MEASURED}, CE + Dice; 3D nnU-Net",
        "marginal", SHI5.names, SHI5.names, _data_sets(),
        (_full(),
         # What pooling the sets without any thought gives: the same recipe, with organs taught to be background.
         Row("naive", "unlabelled = background", "marginal", EVERYTHING, unlabelled_is_background=True),
         _marginal_row(), _exclusion(),
         Row("own", "partialorganseg", "partialorganseg", EVERYTHING, changes=(SCRATCH,))),
        (Claim("marginal", "full"), Claim("marginal", "naive"), Claim("exclusion", "naive"),
         Claim("exclusion", "marginal"), Claim("exclusion", "full"), Claim("own", "full"),
         Claim("own", "marginal"), Claim("own", "exclusion")))


def shi_losses() -> Table:
    """Tables 3 and 4: cross entropy, Dice and both, on F alone and on all sets."""
    rows = []
    for loss, title, alone, together in (
            ("cross_entropy", "CE", Published(.846, hausdorff=10.82), Published(.873, hausdorff=9.81)),
            ("dice", "Dice", Published(.826, hausdorff=10.34), Published(.876, hausdorff=9.48))):
        change = (f"losses={{marginal_{loss}: 1.0}}",)
        if loss == "cross_entropy":
            change = (*change, "loss_arguments={}")
        rows.append(Row(f"full_{loss}", f"F alone, {title}", "marginal", F, alone, change))
        rows.append(Row(f"marginal_{loss}", f"marginal, {title}", "marginal", EVERYTHING, together, change))
    return _shares_runs(
        "shi_losses", "Marginal losses: cross entropy, Dice and both", f"tables 3 and 4: {MEASURED}",
        (_full(), *rows, _marginal_row(), _exclusion()),
        (Claim("full", "full_cross_entropy"), Claim("full", "full_dice"), Claim("marginal", "marginal_cross_entropy"),
         Claim("marginal", "marginal_dice"), Claim("marginal_cross_entropy", "full_cross_entropy"),
         Claim("marginal_dice", "full_dice")))


def shi_single() -> Table:
    """Tables 3 and 4: networks of one organ, on its single-organ set alone and with F."""
    # Neither has a first stage on F: a set of one organ is a full label of a network of that organ.
    one_stage = "stages=[{name: single, steps: 190000, use: [full, partial], sampling: {datasets: alternate}}]"
    rows, claims = [], []
    for organ, (dataset, organs, alone, together) in SINGLE.items():
        for key, title, sets, (dice, hausdorff) in ((f"{organ}_alone", f"{organ}, {dataset} alone", (dataset,), alone),
                                                    (f"{organ}_with_f", f"{organ}, F + {dataset}", ("F", dataset),
                                                     together)):
            published = Published(round(mean(dice), 4), hausdorff=round(mean(hausdorff), 3))
            rows.append(Row(key, title, "marginal", sets, published, (one_stage,), organs))
        claims.append(Claim(f"{organ}_with_f", f"{organ}_alone"))
    return _shares_runs("shi_single", "Networks of one organ, with and without a fully labelled set",
                        "tables 3 and 4: mean over the organ's columns", tuple(rows), tuple(claims))


def shi_weights() -> Table:
    """Table 5: marginal to exclusion loss from 4 : 1 to 1 : 4, and the marginal one alone.

    Not its row 0 : 1. The paper keeps the regular loss on F's patches there, while here the marginal loss is the
    regular one on F, so that without it nothing would be learnt from F.
    """
    figures = ((4, 1, .910, 6.17), (3, 1, .916, 5.00), (2, 1, .926, 4.43), (1, 1, .928, 5.46), (1, 3, .920, 5.25),
               (1, 4, .913, 6.86))
    rows = [_marginal_row(), _exclusion()]  # 1 : 0 and 1 : 2
    for ours, others, dice, hausdorff in figures:
        losses = (f"{{marginal_cross_entropy: {ours}.0, marginal_dice: {ours}.0, "
                  f"exclusion_cross_entropy: {others}.0, exclusion_dice: {others}.0}}")
        rows.append(Row(f"weights_{ours}_{others}", f"marginal : exclusion = {ours} : {others}", "marginal_exclusion",
                        EVERYTHING, Published(dice, hausdorff=hausdorff), (f"stages.1.losses={losses}",)))
    return _shares_runs(
        "shi_weights", "Weights of marginal and exclusion loss", f"table 5: {MEASURED}", tuple(rows),
        tuple(Claim("exclusion", key) for key in ("weights_1_1", "weights_1_4", "weights_4_1", "marginal")))


def shi_missing() -> Table:
    """Table 8: without one of the single-organ sets."""
    rows = [_exclusion()]
    for number, (dice, hausdorff) in enumerate(((.922, 3.98), (.916, 4.29), (.919, 5.21), (.909, 5.90)), 1):
        sets = tuple(name for name in EVERYTHING if name != f"P{number}")
        rows.append(Row(f"without_p{number}", f"without P{number}", "marginal_exclusion", sets,
                        Published(dice, hausdorff=hausdorff)))
    return _shares_runs(
        "shi_missing", "A single-organ set less", f"table 8: {MEASURED}", (*rows, _full()),
        (*(Claim("exclusion", f"without_p{number}") for number in range(1, 5)), Claim("without_p4", "full")))


def shi_annotations() -> Table:
    """Table 6: the same patients, more and more of them with one organ annotated instead of five."""
    # 24 patients in the paper. Those of step s, one for each organ, have full labels in the rows before it; all that
    # are more than these always have.
    sets = [DataSet("always", Kind.FULL, 1000, pooled_as="F")]
    for step in range(1, 5):
        for organ in ANNOTATIONS:
            full = DataSet(f"{step} {organ} full", Kind.FULL, pooled_as="F")
            sets += [full, DataSet(f"{step} {organ}", Kind.PARTIAL, organs=(organ,), same_cases_as=full.name,
                                   pooled_as=f"P {organ}")]
    rows = []
    for single, published in enumerate((Published(.874, hausdorff=9.33), Published(.859, hausdorff=12.00),
                                        Published(.818, hausdorff=15.71), Published(.798, hausdorff=14.37),
                                        Published(.774, hausdorff=16.21))):
        names = ["always"]
        for step in range(1, 5):
            names += [f"{step} {organ}" if step <= single else f"{step} {organ} full" for organ in ANNOTATIONS]
        full, partial = 24 - 5 * single, 5 * single
        recipe = "marginal_exclusion" if single else "marginal"
        rows.append(Row(f"annotated_{full:02}_{partial:02}", f"{full} full, {partial} of one organ (of 24)", recipe,
                        tuple(names), published))
    return Table(
        "shi_annotations", "The same patients with fewer and fewer organs annotated",
        "Shi 2021, table 6: mean over organs, F", "marginal", SHI5.names, SHI5.names, tuple(sets), tuple(rows),
        (Claim("annotated_24_00", "annotated_14_10"), Claim("annotated_24_00", "annotated_04_20"),
         Claim("annotated_19_05", "annotated_04_20")))


def shi_rivals() -> Table:
    """Table 7: PaNN and PIPO-FAN in the same situation."""
    small = [f"{key}={value}" for key, value in pipo_small().items() if key != "network"]
    pipo = Row("pipo", "PIPO-FAN (its own network and slices)", "pipo_fan", EVERYTHING, Published(.907, hausdorff=6.69),
               small=(*small, "network={name: pipo_fan, arguments: {channels: [8, 16, 32, 64, 64]}}"))
    return _shares_runs(
        "shi_rivals", "Marginal and exclusion loss, PaNN and PIPO-FAN", f"table 7: {MEASURED}",
        (Row("pann", "PaNN", "pann_3d", EVERYTHING, Published(.906, hausdorff=5.28)), pipo, _exclusion()),
        (Claim("exclusion", "pann"), Claim("exclusion", "pipo")))


def _shares_runs(key: str, title: str, source: str, rows: tuple[Row, ...], claims: tuple[Claim, ...]) -> Table:
    """A table of the same data sets as `marginal`, whose runs it takes where a row is the same."""
    return Table(key, title, f"Shi 2021, {source}", "marginal", SHI5.names, SHI5.names, _data_sets(), rows, claims,
                 runs_of="marginal")
