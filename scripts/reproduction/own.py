"""Our own recipe with one of its parts less at a time, in the situation of the marginal loss: which of them pays."""

from __future__ import annotations

from .shi import marginal
from .table import SCRATCH, Claim, Row, Table

# Each is the recipe but for this. The losses that stay are those of its first stage and of Shi 2021.
WITHOUT = {
    "losses": ("marginal losses alone", ("losses={marginal_cross_entropy: 1.0, marginal_dice: 1.0}",
                                         "loss_arguments={}")),
    "unlabelled": ("no loss where nothing is known", ("losses.entropy=0", "losses.intensity=0", "losses.prior=0")),
    "stage": ("no first stage", ("stages=[]",)),
    "drawing": ("every voxel in the losses", ("voxels_per_set=0", "stages.0.voxels_per_set=0")),
    "sampling": ("data sets in turn", ("sampling={foreground: 1, anywhere: 1.0, datasets: alternate}",)),
}


def own_parts() -> Table:
    """The recipe, the recipe without each part, and the marginal loss alone in Shi's recipe."""
    of_marginal = marginal()
    shared = {row.key: row for row in of_marginal.rows}
    own = shared["own"]
    rows = [shared["marginal"], own]
    claims = [Claim("own", "marginal")]
    for part, (title, changes) in WITHOUT.items():
        key = f"own_without_{part}"
        rows.append(Row(key, f"partialorganseg, {title}", own.recipe, own.datasets, changes=(SCRATCH, *changes)))
        claims += [Claim("own", key), Claim(key, "marginal")]
    return Table("own_parts", "Our own recipe with one of its parts less", "ours: losses, stages and sampling of "
                 "`partialorganseg`, each left out in turn", of_marginal.recipe, of_marginal.organs,
                 of_marginal.small_organs, of_marginal.datasets, tuple(rows), tuple(claims), runs_of="marginal")
