"""YAML files that users write (recipes, manifests): read with one clear line when they cannot be.

A small file may stand for a huge one: aliases of aliases double with every line ("billion laughs"). So what a file
expands to is counted before anything is made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .bounded_file import read_at_most
from .errors import Code, UserError

LARGEST_FILE = 32 << 20  # bytes; a manifest of ten thousand cases has 2 MiB
MOST_VALUES = 2_000_000  # with every alias written out
DEEPEST = 60  # lists and mappings in each other
BACKSLASH = "in YAML a backslash in double quotes begins an escape, such as a line's end: use single quotes or slashes"


class _TooMuchError(Exception):
    """What the file holds instead of something reasonable."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML comes without types
    """PyYAML's safe one, which stops at brackets that nobody writes: it needs their number squared in time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node with all that it holds. Raises _TooMuchError."""
        if self._depth > DEEPEST:
            raise _TooMuchError(f"lists or mappings nested more than {DEEPEST} deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(path: Path, noun: str) -> object:
    """The file's content. Raises UserError naming the file and, as `noun`, what was expected there."""
    try:
        text = read_at_most(path, LARGEST_FILE, f"a {noun}").decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found=f"{noun} expected, none found") from None
    except OSError as error:
        raise UserError(code=Code.NOT_READABLE, subject=path, expected=f"a {noun} file", found=error.strerror) from None
    except UnicodeDecodeError as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=f"a {noun} in YAML, in UTF-8",
                        found=f"bytes that are none (at {error.start})") from None
    except ValueError as error:  # a name with a NUL
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="YAML", found=error) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, subject: str) -> object:
    """The content of a text, which messages call `subject`. Raises UserError for what is no YAML, for a key that occurs
    twice in one mapping, and for more values or depth than any person writes."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, [])
        content: object = loader.construct_document(node)
    except _TooMuchError as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=subject, expected="YAML", found=error) from None
    except RecursionError:
        raise UserError(code=Code.WRONG_FORMAT, subject=subject, expected="YAML",
                        found="lists nested too deep") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        # A path of Windows ("C:\\Users"), of which nobody thinks as an escape.
        hint = BACKSLASH if "escape" in reason else ""
        raise UserError(code=Code.WRONG_FORMAT, subject=subject, expected="YAML", found=reason, hint=hint) from None
    except (ValueError, KeyError, AttributeError, IndexError, TypeError, OverflowError):
        # PyYAML's own makers of dates, numbers and booleans fail on texts such as 2020-99-99.
        raise UserError(code=Code.WRONG_FORMAT, subject=subject, expected="YAML",
                        found="a date, number or tag that cannot be one") from None
    finally:
        if loader is not None:
            loader.dispose()
    return content


def _count(node: yaml.Node, counts: dict[int, int], above: list[int]) -> int:
    """How many values a node stands for, with every alias written out. Raises _TooMuchError.

    `counts`: those of nodes that were counted already; an alias is the same node again. `above`: the nodes around this
    one.
    """
    if id(node) in counts:
        return counts[id(node)]
    if id(node) in above:
        raise _TooMuchError(f"an alias of something that holds it{_line(node)}")
    total = 1
    above.append(id(node))
    if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
        raise _TooMuchError(f"a NUL character{_line(node)}")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            total += _count(item, counts, above)
    elif isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                # Of two values under one key the first would be lost.
                if key.value in keys and key.value != "<<":
                    raise _TooMuchError(f"the key '{key.value[:60]}' twice{_line(key)}")
                keys.add(key.value)
            total += _count(key, counts, above) + _count(value, counts, above)
    above.pop()
    if total > MOST_VALUES:
        raise _TooMuchError(f"more than {MOST_VALUES} values, as aliases of aliases make them{_line(node)}")
    counts[id(node)] = total
    return total


def _line(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1})" if node.start_mark is not None else ""
