"""Our own recipe with one of its parts less, with losses that it had, and with what gained elsewhere, in the situation
of the marginal loss."""

from __future__ import annotations

from dataclasses import replace

from .shi import marginal
from .table import SCRATCH, Claim, Row, Table

# Each is the recipe but for this. With every loss it is the recipe as it was up to 0.5.
VARIANTS = {
    "with_losses": ("with four more losses (as up to 0.5)", (
        "losses={marginal_cross_entropy: 1.0, marginal_dice: 1.0, exclusion_dice: 0.5, entropy: 0.1, intensity: 0.1, "
        "prior: 0.1, distillation: 1.0}",
        "loss_arguments={intensity: {form: weighted, unknown_only: true}, prior: {momentum: 0.9}, "
        "exclusion_dice: {average: true}}")),
    "with_exclusion": ("with the exclusion loss", (
        "losses.exclusion_dice=0.5", "loss_arguments={exclusion_dice: {average: true}}")),
    "without_stage": ("no first stage", ("stages=[]",)),
    "without_drawing": ("every voxel in the losses", ("voxels_per_set=0", "stages.0.voxels_per_set=0")),
    "without_sampling": ("data sets in turn", ("sampling={foreground: 1, anywhere: 1.0, datasets: alternate}",)),
    # After the first stage, that is: before it the network has nothing to teach itself.
    "self_trained": ("taught by its own average where it is sure", (
        "stages.1.pseudo_labels={every: 10, weights: average, least_confidence: 0.9}",)),
}
FOLDS = 3


def own_parts() -> Table:
    """The recipe, its variants, and the marginal loss alone in Shi's recipe."""
    of_marginal = marginal()
    shared = {row.key: row for row in of_marginal.rows}
    own = shared["own"]
    rows = [shared["marginal"], own]
    claims = [Claim("own", "marginal")]
    for variant, (title, changes) in VARIANTS.items():
        key = f"own_{variant}"
        rows.append(Row(key, f"partialorganseg, {title}", own.recipe, own.datasets, changes=(SCRATCH, *changes)))
        claims += [Claim("own", key), Claim(key, "marginal")]
        if variant == "self_trained":  # it is to be better, while the recipe is to be better than what it left
            claims[-2] = Claim(key, "own")
    rows.append(replace(own, key="own_folds", title=f"partialorganseg, {FOLDS} networks of a third of the steps each",
                        folds=FOLDS))
    claims.append(Claim("own_folds", "own"))
    return Table("own_parts", "Our own recipe with a part less or a loss more", "ours: losses, stages and sampling of "
                 "`partialorganseg`, each changed in turn", of_marginal.recipe, of_marginal.organs,
                 of_marginal.small_organs, of_marginal.datasets, tuple(rows), tuple(claims), runs_of="marginal")
