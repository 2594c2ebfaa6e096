"""The papers' tables by their keys, as `scripts/reproduce.py --table` takes them."""

from __future__ import annotations

from . import fang, luo, own, shi, zhou

TABLES = {table.key: table for table in (
    zhou.pann(), zhou.pann_2d(), shi.marginal(), shi.shi_losses(), shi.shi_single(), shi.shi_weights(),
    shi.shi_annotations(), shi.shi_rivals(), shi.shi_missing(), fang.pipo(), fang.pipo_networks(), luo.word(),
    luo.word_networks(), own.own_parts())}
