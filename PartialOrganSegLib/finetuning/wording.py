"""Names of organs in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def title(organ: str) -> str:
    """An organ's name as people write it.

    >>> title("left_kidney")
    'left kidney'
    """
    return organ.replace("_", " ")


def listed(names: Sequence[str], most: int | None = None) -> str:
    """The names in a row; of more than `most` the first ones, and how many more there are.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
    ('a, b and c', 'a and 2 more')
    """
    if len(names) < 2:
        return "".join(names)
    if most is not None and len(names) > most:
        return f"{', '.join(names[:most - 1])} and {len(names) - most + 1} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"
