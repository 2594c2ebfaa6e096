"""A model's card as rich text: licences, label space, figures and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from slicer.i18n import tr as _

from ..shell.model_cards import ModelCard
from ..shell.model_licence import licence_text

SWATCH = "&#9632;"


def card_html(card: ModelCard) -> str:
    """The whole card."""
    organs = ", ".join(f'<span style="color: rgb{organ.colour}">{SWATCH}</span>&nbsp;{escape(organ.title)}'
                       for organ in card.organs)
    parts = [f"<b>{escape(card.name)} {escape(card.version)}</b>", escape(card.description),
             _section(_("Licences"), escape(licence_text(card)).replace("\n", "<br>")),
             _section(_("{count} organs").format(count=len(card.organs)), organs)]
    if card.metrics:
        parts.append(_section(_("Figures"), _figures(card.metrics)))
    if card.training_data:
        parts.append(_section(_("Trained on"), "<br>".join(map(escape, card.training_data))))
    parts.append(_section(_("Folder"), escape(str(card.folder))))
    return "".join(f"<p>{part}</p>" for part in parts)


def _section(title: str, content: str) -> str:
    return f"<b>{escape(title)}</b><br>{content}"


def _figures(metrics: Mapping[str, Any]) -> str:
    """Bundles differ in what they measured: a table for figures per organ, a line for anything else."""
    return "".join(_table(key, value) if isinstance(value, Mapping) else
                   f"{escape(_words(key))}: {escape(_figure(value))}<br>" for key, value in metrics.items())


def _table(title: str, lines: Mapping[str, Any]) -> str:
    """A row for each of the lines, a column for each figure they have: {organ: figure} or {organ: {name: figure}}."""
    if not lines:
        return ""
    cells = {name: value if isinstance(value, Mapping) else {"": value} for name, value in lines.items()}
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    head = "".join(f"<td><i>{escape(_words(column))}</i>&nbsp;</td>" for column in ["", *columns])
    body = "".join(f"<tr><td>{escape(_words(name))}&nbsp;</td>" + "".join(
        f"<td>{escape(_figure(row.get(column)))}&nbsp;</td>" for column in columns) + "</tr>"
        for name, row in cells.items())
    return f"{escape(_words(title))}<table><tr>{head}</tr>{body}</table>"


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def _figure(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
