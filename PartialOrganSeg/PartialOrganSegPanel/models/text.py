"""A model's card as rich text: licences, label space, figures and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from slicer.i18n import tr as _

from ..shell.model_cards import DownloadCard, ModelCard
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
        parts.append(_section(_("Trained on"), "<br>".join(map(_training_data, card.training_data))))
    parts.append(_section(_("Folder"), escape(str(card.folder))))
    return "".join(f"<p>{part}</p>" for part in parts)


def download_html(card: DownloadCard) -> str:
    """What is known of a model before it is downloaded."""
    parts = [f"<b>{escape(card.name)}</b>", escape(card.title),
             _section(_("Download"), _("about {megabytes} MB").format(megabytes=card.megabytes)),
             _section(_("Licence"), escape(card.licence)), _section(_("From"), escape(card.url))]
    return "".join(f"<p>{part}</p>" for part in parts)


def _section(title: str, content: str) -> str:
    return f"<b>{escape(title)}</b><br>{content}"


def _figures(metrics: Mapping[str, Any]) -> str:
    """Bundles differ in what they measured: a table for figures per organ, a line for anything else."""
    parts = []
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            parts.append(_table(key, value))
        else:
            parts.append(f"{escape(_words(key))}: {escape(_figure(value))}<br>")
    return "".join(parts)


def _table(title: str, lines: Mapping[str, Any]) -> str:
    """A row for each of the lines, a column for each figure they have: {organ: figure} or {organ: {name: figure}}."""
    if not lines:
        return ""
    figures = {name: _named_figures(value) for name, value in lines.items()}
    # organs may have different figures, of which one table shows all
    columns: dict[str, None] = {}
    for row in figures.values():
        columns |= dict.fromkeys(row)
    table = [_table_row([f"<i>{escape(_words(column))}</i>" for column in ("", *columns)])]
    for name, row in figures.items():
        table.append(_table_row([escape(_words(name)), *(escape(_figure(row.get(column))) for column in columns)]))
    return f"{escape(_words(title))}<table>{''.join(table)}</table>"


def _named_figures(value: Any) -> Mapping[str, Any]:
    """Figures by their names; a single one has none."""
    if isinstance(value, Mapping):
        return value
    return {"": value}


def _table_row(cells: Sequence[str]) -> str:
    """Of cells in HTML; a space at the end of each keeps the columns apart."""
    return "<tr>" + "".join(f"<td>{cell}&nbsp;</td>" for cell in cells) + "</tr>"


def _training_data(facts: Any) -> str:
    """A sentence, or of an imported model the facts of its plans."""
    if not isinstance(facts, Mapping):
        return escape(str(facts))
    return ", ".join(f"{escape(_words(key))}: {escape(_figure(value))}" for key, value in facts.items())


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def _figure(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
