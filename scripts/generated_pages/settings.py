"""The pages of what users write in files: manifest, recipe, and a bundle's metadata, key by key."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from PartialOrganSegLib.datasets import manifest_file
from PartialOrganSegLib.label_space_file import LabelSpaceEntry
from PartialOrganSegLib.models import bundle as bundle_module
from PartialOrganSegLib.models import metadata
from PartialOrganSegLib.training import recipe, settings

from .markdown import NOTE, code, table

Schema = dict[str, Any]  # JSON Schema, which is free
Section = tuple[str, type[BaseModel]]

MANIFEST = """# The manifest

{note}
A YAML file that lists images and says what their annotations vouch for.
[Partial labels](../how-to/partial-labels.md) has examples, [candidate sets](../concepts/candidate-sets.md) the idea.
`partialorganseg check manifest.yaml` reads it all and says what it understood. An unknown key is an error that names
the nearest one.
"""
RECIPE = """# The recipe

{note}
A YAML file with every setting of a training run. `partialorganseg train NAME --set key.sub=value` changes one;
`partialorganseg list recipes` names those that ship. In Python, `Recipe.changed(**settings)` gives a validated copy.
[Names](names.md) lists the losses, networks, optimisers and schedules that a recipe may name.
"""
BUNDLE = """# The model bundle

{note}
A model is a folder in MONAI's bundle layout:

```text
{layout}
```

`configs/metadata.json` holds MONAI's fields and a section `partialorganseg`, described below. Every file is compared
with `configs/checksums.json` (SHA-256) whenever the model is loaded; weights are read without unpickling.
"""


def manifest_page() -> str:
    return _page(MANIFEST.format(note=NOTE), [
        ("The file", manifest_file.ManifestFile), ("datasets", manifest_file.DatasetEntry),
        ("cases", manifest_file.CaseEntry), ("splits", manifest_file.Splits)])


def recipe_page() -> str:
    return _page(RECIPE.format(note=NOTE), [
        ("The whole recipe", recipe.Recipe), ("stages", settings.Stage),
        ("preprocessing", settings.PreprocessingSettings), ("network", settings.NetworkSettings),
        ("augmentation", settings.AugmentationSettings), ("sampling", settings.SamplingSettings),
        ("optimiser", settings.OptimiserSettings), ("schedule", settings.ScheduleSettings),
        ("deep_supervision", settings.DeepSupervisionSettings), ("pseudo_labels", settings.PseudoLabelSettings),
        ("validation", settings.ValidationSettings), ("bundle", settings.BundleSettings)])


def bundle_page() -> str:
    return _page(BUNDLE.format(note=NOTE, layout=_layout()), [
        ("metadata.json", metadata.Metadata), ("partialorganseg", metadata.OwnSection),
        ("label_space", LabelSpaceEntry), ("network", metadata.NetworkEntry),
        ("preprocessing", metadata.PreprocessingEntry), ("members", metadata.MemberEntry),
        ("nnunet", metadata.NNUNetEntry), ("licences", metadata.Licences), ("lineage", metadata.Lineage),
        ("parent", metadata.ParentEntry), ("learnt", metadata.LearntEntry)])


def _layout() -> str:
    """The tree of files that the docstring of models/bundle.py draws."""
    lines = (bundle_module.__doc__ or "").splitlines()
    return "\n".join(line.strip() for line in lines if line.startswith("    NAME"))


def _page(head: str, sections: Sequence[Section]) -> str:
    titles = {model.__name__: title for title, model in sections}
    lines = [head]
    for title, model in sections:
        text = inspect.cleandoc(model.__doc__ or "").partition("\n>>>")[0].strip()
        schema = model.model_json_schema()
        required = schema.get("required", [])
        rows = []
        for key, value in schema["properties"].items():
            rows.append((code(key), _type(value, schema.get("$defs", {}), titles), _default(value, key in required)))
        lines += [f"## {title}", "", text, "", *table(("key", "value", "default"), rows), ""]
    return "\n".join(lines)


def _default(schema: Schema, required: bool) -> str:
    if required:
        return "must be given"
    default = schema.get("default")
    if isinstance(default, dict) and default and "$ref" in str(schema):
        return "see there"  # the group's own defaults
    return code(json.dumps(default, ensure_ascii=False))


def _type(schema: Schema, definitions: Schema, titles: dict[str, str]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in titles:
            return f"[{titles[name]}](#{titles[name].lower().replace(' ', '-').replace('.', '')})"
        return _type(definitions[name], definitions, titles)
    if "allOf" in schema:  # some versions of pydantic wrap what has a default
        return _type(schema["allOf"][0], definitions, titles)
    if "anyOf" in schema:
        return " or ".join(_type(part, definitions, titles) for part in schema["anyOf"])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value).strip('"')) for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return _list(schema, definitions, titles)
    if kind == "object":
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict):
            return f"mapping to: {_type(inner, definitions, titles)}"
        return "mapping"
    words = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "`null`"}
    return words.get(kind, kind) + _bounds(schema)


def _list(schema: Schema, definitions: Schema, titles: dict[str, str]) -> str:
    if "prefixItems" in schema:
        items = schema["prefixItems"]
        return f"list of {len(items)}: {_type(items[0], definitions, titles)}"
    items = schema.get("items")
    if not items:
        return "list"
    return f"list of: {_type(items, definitions, titles)}"


def _bounds(schema: Schema) -> str:
    words = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"),
             ("exclusiveMaximum", "below"))
    text = ""
    for key, word in words:
        # PyTorch's and pydantic's largest numbers are no limits that anybody meets.
        if key in schema and abs(schema[key]) < 1e15:
            text += f", {word} {schema[key]:g}"
    return text
