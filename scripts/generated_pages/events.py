"""docs/reference/events.md: the JSON events and the keys that the commands send with them, read off their calls."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import PartialOrganSegLib
from PartialOrganSegLib.cli import COMMANDS
from PartialOrganSegLib.events import Reporter

from .markdown import NOTE, code, table

HEAD = """# Events

{note}
With `--json-events`, stdout holds one JSON object a line and nothing else; each has the key `event`. What a person
would read goes to stderr.

```json
{{"event": "progress", "stage": "predict", "done": 3, "total": 27, "eta_s": 41.0}}
```

In Python, pass a `Reporter` (`PartialOrganSegLib.events`) to any function that takes `reporter`: its methods are these
events.
"""
PARTS = """
`error` and `warning` carry `message`, `code`, `subject`, `expected`, `found` and `hint`: [problems](problems.md) lists
the codes. `progress` carries `stage`, `done`, `total` and `eta_s` (seconds; null as long as nobody can say).
"""
EVENTS = ("started", "progress", "metric", "warning", "result", "error")


def page() -> str:
    rows = [(code(name), inspect.getdoc(getattr(Reporter, name)) or "") for name in EVENTS]
    lines = [HEAD.format(note=NOTE), *table(("event", "when"), rows), PARTS]
    lines += ["## Keys of each command", ""]
    lines += ["Where a command sends several kinds of `result`, each has a line.", ""]
    keys = []
    # Read off the calls: a list of their keys beside the code would fall behind it.
    for command, module in COMMANDS.items():
        for event, words in _calls(Path(module.__file__ or "")):
            if event in ("started", "result") and words:
                keys.append((code(command), code(event), ", ".join(code(word) for word in words)))
    lines += table(("command", "event", "keys"), dict.fromkeys(keys))
    lines += ["", "## Stages of `progress`", "", ", ".join(code(stage) for stage in sorted(set(_stages()))) + "."]
    return "\n".join(lines) + "\n"


def _calls(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each call of a reporter in a file: the event and its keywords."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in EVENTS:
            words = [keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg != "command"]
            yield node.func.attr, words


def _stages() -> Iterator[str]:
    for path in Path(PartialOrganSegLib.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and node.func.attr == "progress" and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)
