"""What can be named in a recipe or found by a file's name, and how others add to it: a register for each kind of thing.

    LOSSES = Registry("loss", group="partialorganseg.losses", base=nn.Module)

    @LOSSES.register("marginal_dice", source="Shi 2021 (6)")
    class MarginalDice(nn.Module): ...

    LOSSES.find("marginal_dice")            # a registered name
    LOSSES.find("my_package.module:Class")  # anybody's nn.Module, without registering it

An installed package adds names with an entry point of the register's `group`: `my_dice = "my_package.module:Class"`.
"""

from __future__ import annotations

import dis
import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Generic, NamedTuple, TypeVar, cast

from .errors import Code, UserError, brief, did_you_mean, nearest

T = TypeVar("T")
C = TypeVar("C")
# What values of the wrong kind or size end in: Python's errors, and PyTorch's for lists that are empty and numbers that
# are negative or too large.
_UNFIT = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError, AssertionError,
          MemoryError)
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping of registered names to what they stand for, in the order of registration.

    `kind` is what a message calls an entry ("loss"). `group` is that of the entry points by which installed packages
    add names. `modules` register theirs when they are imported, which happens when the first name is looked up.
    `base`: what a class named as `package.module:Class` must be derived from, None where no such name is taken. Recipes
    and bundles come from others too, and must not be able to call just anything that is installed.
    With `instances` a class is registered as an object of it, made without arguments.
    """

    def __init__(self, kind: str, group: str, modules: Sequence[str] = (), base: type | None = None,
                 instances: bool = False) -> None:
        self.kind, self.group, self.base, self.instances = kind, group, base, instances
        self._waiting = list(modules)
        self._entries: dict[str, T] = {}
        self._registered: dict[str, object] = {}  # as it was given, where an entry is made of it
        self._sources: dict[str, str] = {}
        self._installed = False

    def register(self, name: str, source: str = "") -> Callable[[C], C]:
        """Decorator that gives a class or function its name; `source`: the paper, with the equation's number.

        Raises ValueError for a name that is taken by something else.
        """
        def add(entry: C) -> C:
            self.add(name, entry, source)
            return entry

        return add

    def add(self, name: str, entry: Any, source: str = "") -> None:
        """Registers `entry` as `name`. Raises ValueError for a name that is taken by something else."""
        if ":" in name or not name:
            raise ValueError(f"{self.kind}: expected a name without ':', found '{name}'")
        if self._registered.setdefault(name, entry) is not entry:
            raise ValueError(f"{self.kind} {name}: registered twice")
        # The same class twice is no mistake: its module registers it, and an entry point may name it as well.
        if name not in self._entries:
            if self.instances and isinstance(entry, type):
                entry = entry()
            self._entries[name] = entry
        self._sources[name] = source

    def remove(self, name: str) -> None:
        """Takes a name out again. Raises KeyError for an unknown one."""
        del self._entries[name], self._registered[name], self._sources[name]

    def find(self, name: str, setting: str | None = None) -> T:
        """What a registered name or `package.module:Class` stands for.

        Raises UserError that begins with `setting` (by default the kind; with "" it is left to the caller) for an
        unknown name, with the nearest one, and for a class that cannot be imported or is not derived from `base`.
        """
        subject = self.kind if setting is None else setting
        # Registered names have no colon, so it tells the two apart.
        if self.base is not None and _REFERENCE.fullmatch(str(name)):
            entry = _imported(name, subject)
            if not isinstance(entry, type) or not issubclass(entry, self.base):
                base = f"{self.base.__module__}.{self.base.__qualname__}"
                raise UserError(code=Code.VALUE_UNFIT, subject=subject, expected=f"a class derived from {base}",
                                found=name)
            return cast(T, entry)
        if name not in self:
            expected = f"one of {', '.join(self)}"
            if self.base is not None:
                expected += " or package.module:Class"
            raise UserError(code=Code.UNKNOWN_NAME, subject=subject, expected=expected, found=f"'{name}'",
                            hint=did_you_mean(name, self))
        return self[name]

    def source(self, name: str) -> str:
        """The paper an entry states, empty where it states none."""
        self._load()
        return self._sources.get(name, "")

    def __getitem__(self, name: str) -> T:
        self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(list(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        """Imports the modules of this register, then what installed packages add."""
        while self._waiting:
            importlib.import_module(self._waiting.pop(0))
        if self._installed:
            return
        # Set before the loop: what is loaded there may look names up itself.
        self._installed = True
        for entry in entry_points(group=self.group):
            if entry.name not in self._entries:  # it may have registered itself when another one was imported
                try:
                    loaded = entry.load()
                except Exception as error:  # whatever another package's module raises
                    # The next look-up meets it too: it would go on without this entry and all after it.
                    self._installed = False
                    raise UserError(code=Code.PACKAGE_MISSING, subject=f"{self.kind} {entry.name}",
                                    expected=f"{entry.value} (entry point {self.group}) to be importable",
                                    found=error) from error
                if entry.name not in self._entries:
                    self.add(entry.name, loaded)


def _imported(reference: str, setting: str) -> Any:
    subject = f"{setting}: {reference}" if setting else reference
    module_name, _, path = reference.partition(":")
    try:
        place: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's own module raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(code=Code.UNKNOWN_NAME, subject=subject, expected="a module that can be imported",
                        found=reason) from error
    for part in path.split("."):
        if not hasattr(place, part):
            raise UserError(code=Code.UNKNOWN_NAME, subject=subject, expected=f"a name in {module_name}",
                            found=f"no '{part}'", hint=did_you_mean(part, vars(place)))
        place = getattr(place, part)
    return place


class Argument(NamedTuple):
    """An argument that a class or function takes; `default` is `Argument.REQUIRED` where it must be given."""

    name: str
    default: object

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    def __str__(self) -> str:
        return self.name if self.required else f"{self.name}={self.default!r}"


def arguments_of(entry: Callable[..., Any], supplied: Collection[str] = ()) -> list[Argument]:
    """The arguments by name that `entry` takes, without those that the library supplies."""
    arguments = []
    for parameter in _parameters(entry):
        by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if by_name and parameter.name not in supplied:
            arguments.append(Argument(parameter.name, parameter.default))
    return arguments


def check_arguments(entry: Callable[..., Any], arguments: Mapping[str, object], setting: str,
                    supplied: Collection[str] = (), complete: bool = True) -> None:
    """Compares `arguments` with the signature of `entry`; `supplied` are those that the library adds itself.

    Raises UserError that begins with `setting` ("": it is left to the caller) for an argument that it does not take,
    with the nearest name, and, if they are to be `complete`, for one that is missing.
    """
    signature = arguments_of(entry, supplied)
    names = [argument.name for argument in signature]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in _parameters(entry))
    for name in arguments:
        if name not in names and not (takes_any and name not in supplied):
            raise UserError(code=Code.UNKNOWN_NAME, subject=setting,
                            found=f"unknown argument '{name}'{nearest(name, names)}",
                            hint=f"known: {', '.join(names) or 'none'}")
    if not complete:
        return
    for argument in signature:
        if argument.required and argument.name not in arguments:
            raise UserError(code=Code.SETTING_MISSING, subject=setting, expected=f"the argument '{argument.name}'",
                            found="none")


def make_entry(entry: Callable[..., T], subject: str, arguments: Mapping[str, object], *supplied: object,
               **by_name: object) -> T:
    """`entry(*supplied, **by_name, **arguments)`, where `arguments` are the user's.

    Raises UserError, which begins with `subject`, for values that it does not work with: in the words of whoever wrote
    a `raise` for them, else with the values themselves, as Python's or PyTorch's words say nothing of a recipe.
    """
    try:
        return entry(*supplied, **by_name, **arguments)
    except _UNFIT as error:
        if _was_raised(error):
            raise UserError(code=Code.VALUE_UNFIT, subject=subject, found=error) from error
        raise UserError(code=Code.VALUE_UNFIT, subject=subject, expected="arguments that it works with",
                        found=brief(dict(arguments))) from error


def _was_raised(error: BaseException) -> bool:
    """Whether a `raise` in a module's text brought up an error, and not Python or a library in C."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def accepted(entry: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that `entry` takes by name."""
    names = {argument.name for argument in arguments_of(entry)}
    return {name: value for name, value in values.items() if name in names}


def summary(entry: object) -> str:
    """The first sentence of a docstring, empty without one."""
    paragraph = (inspect.getdoc(entry) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _parameters(entry: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(entry).parameters.values())
    except (TypeError, ValueError):  # something written in C that does not say
        return []
