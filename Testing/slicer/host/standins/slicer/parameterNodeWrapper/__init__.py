"""Stand-in for slicer.parameterNodeWrapper: a typed view of a vtkMRMLScriptedModuleNode, two-way bound to widgets.

Types: bool int float str, Enum, pathlib paths, MRML nodes, Optional of those, list/dict of plain values;
packs nest by dots.
"""

import copy
import enum
import json
import logging
import pathlib
import types
import typing
from typing import Annotated

import qt
import slicer
import vtk

from .connectors import Connector
from .validators import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)

SlicerParameterNamePropertyName = "SlicerParameterName"


def _split(t):
    notes = ()
    if typing.get_origin(t) is Annotated:
        t, *notes = typing.get_args(t)
    optional = False
    if typing.get_origin(t) in (typing.Union, types.UnionType):
        args = typing.get_args(t)
        optional = type(None) in args
        kinds = [a for a in args if a is not type(None)]
        t = kinds[0] if len(kinds) == 1 else tuple(kinds)
    return t, tuple(notes), optional


def _isnode(t):
    return all(isinstance(x, type) and issubclass(x, slicer.vtkMRMLNode) for x in (t if isinstance(t, tuple) else (t,)))


class _Member:
    def __init__(self, name, hint, default, hasDefault):
        self.name, self.hint = name, hint
        self.type, self.notes, self.optional = _split(hint)
        self.validators = [n for n in self.notes if isinstance(n, Validator)]
        self.node = _isnode(self.type)
        d = next((n for n in self.notes if isinstance(n, Default)), None)
        if hasDefault:
            self._default = lambda: copy.deepcopy(default)
        elif d is not None:
            self._default = d.generator or (lambda: copy.deepcopy(d.value))
        else:
            self._default = self._natural

    def _natural(self):
        t = self.type
        if self.node or self.optional:
            return None
        for v in self.validators:
            if isinstance(v, Choice):
                return v.choices[0]
            if isinstance(v, (WithinRange, Minimum)):
                return t(v.minimum)
            if isinstance(v, Maximum):
                return t(v.maximum)
        if isinstance(t, type) and issubclass(t, enum.Enum):
            return next(iter(t))
        return (typing.get_origin(t) or t)()

    def default(self):
        return self._default()

    def check(self, v):
        if v is None and not (self.optional or self.node):
            raise ValueError(f"{self.name} cannot be None")
        base = typing.get_origin(self.type) or self.type
        if v is not None:
            ok = (
                isinstance(v, base)
                or (base is float and isinstance(v, int))
                or (isinstance(base, type) and issubclass(base, pathlib.PurePath) and isinstance(v, pathlib.PurePath))
            )
            if not ok or (base is int and isinstance(v, bool)):
                raise (TypeError if not self.node else ValueError)(f"{self.name} wants {self.type}, got {v!r}")
        for x in self.validators:
            x.validate(v)

    def encode(self, v):
        if v is None:
            return "null"
        if isinstance(v, enum.Enum):
            return json.dumps(v.name)
        if isinstance(v, pathlib.PurePath):
            return json.dumps(str(v))
        return json.dumps(v)

    def decode(self, s):
        v = json.loads(s)
        if v is None:
            return None
        t = typing.get_origin(self.type) or self.type
        return t[v] if issubclass(t, enum.Enum) else t(v)


def _members(cls):
    out = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if isinstance(hint, type) and getattr(hint, "_isPack", False):
            for sub in hint._members.values():
                m = copy.copy(sub)
                m.name = f"{name}.{sub.name}"
                out[m.name] = m
            continue
        out[name] = _Member(name, hint, getattr(cls, name, None), name in vars(cls))
        out[name].check(out[name].default()) if not (out[name].node or out[name].default() is None) else None
    return out


def parameterPack(cls=None):
    def wrap(c):
        c._isPack, c._members = True, _members(c)
        return c

    return wrap if cls is None else wrap(cls)


class _PackView:
    def __init__(self, owner, prefix):
        object.__setattr__(self, "_o", owner)
        object.__setattr__(self, "_p", prefix)

    def __getattr__(self, n):
        return self._o.getValue(f"{self._p}.{n}")

    def __setattr__(self, n, v):
        self._o.setValue(f"{self._p}.{n}", v)


def parameterNodeWrapper(cls=None):
    return _wrap if cls is None else _wrap(cls)


def _wrap(cls):
    members = _members(cls)
    body = {
        k: v
        for k, v in vars(cls).items()
        if k not in members and k not in ("__dict__", "__weakref__", "__annotations__")
    }

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode, self._prefix, self._gui, self._next = parameterNode, (prefix + "_") if prefix else "", {}, 0
        for m in members.values():
            k = self._prefix + m.name
            if not m.node and not parameterNode.HasParameter(k):
                parameterNode.SetParameter(k, m.encode(m.default()))

    def getValue(self, name):
        m, k = members[name], self._prefix + name
        return self.parameterNode.GetNodeReference(k) if m.node else m.decode(self.parameterNode.GetParameter(k))

    def setValue(self, name, v):
        m, k = members[name], self._prefix + name
        m.check(v)
        if m.node:
            self.parameterNode.SetNodeReferenceID(k, v.GetID() if v else None)
        else:
            self.parameterNode.SetParameter(k, m.encode(float(v) if m.type is float and v is not None else v))

    def connectParametersToGui(self, mapping):
        tag, self._next = self._next, self._next + 1
        busy = [False]
        links = {}

        def fromNode(*a):
            if busy[0]:
                return
            busy[0] = True
            try:
                for n, c in links.items():
                    v = getValue(self, n)
                    if c.read() != v:
                        c.write(v)
            finally:
                busy[0] = False
            fromGui()  # the widget may have clipped or refused the value

        def fromGui():
            if busy[0]:
                return
            busy[0] = True
            try:
                for n, c in links.items():
                    v = c.read()
                    if v != getValue(self, n):
                        try:
                            setValue(self, n, v)
                        except (ValueError, TypeError) as e:
                            logging.warning("%s", e)
            finally:
                busy[0] = False

        for n, w in mapping.items():
            links[n] = Connector(w, members[n], fromGui)
        obs = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, fromNode)
        self._gui[tag] = (obs, links)
        fromNode()
        return tag

    def connectGui(self, gui):
        widgets = (
            gui.findChildren(qt.QWidget)
            if isinstance(gui, qt.QWidget)
            else [w for w in vars(gui).values() if isinstance(w, qt.QWidget)]
        )
        mapping = {}
        for w in widgets:
            n = w.property(SlicerParameterNamePropertyName)
            if n:
                if n not in members:
                    raise ValueError(f"{w.objectName}: no parameter {n!r}; has {sorted(members)}")
                if n in mapping:
                    raise ValueError(f"two widgets for {n!r}")
                mapping[n] = w
        return self.connectParametersToGui(mapping)

    def disconnectGui(self, tag):
        if tag not in self._gui:
            return
        obs, links = self._gui.pop(tag)
        self.parameterNode.RemoveObserver(obs)
        for c in links.values():
            c.close()

    def __getattr__(self, n):
        if n[:1].isupper() and "parameterNode" in self.__dict__:
            return getattr(self.parameterNode, n)
        raise AttributeError(f"{type(self).__name__} has no parameter {n!r}")

    def __setattr__(self, n, v):
        if n.startswith("_") or n == "parameterNode" or isinstance(getattr(type(self), n, None), property):
            return object.__setattr__(self, n, v)
        raise AttributeError(f"{type(self).__name__} has no parameter {n!r}")

    body.update(
        __init__=__init__,
        getValue=getValue,
        setValue=setValue,
        connectGui=connectGui,
        connectParametersToGui=connectParametersToGui,
        disconnectGui=disconnectGui,
        __getattr__=__getattr__,
        __setattr__=__setattr__,
        allParameters=members,
        dataType=lambda self, n: members[n].hint,
        default=lambda self, n: members[n].default(),
        isCached=lambda self, n: False,
    )
    for n in members:
        top = n.split(".")[0]
        body[top] = (
            property(lambda s, p=top: _PackView(s, p))
            if "." in n
            else property(lambda s, n=n: getValue(s, n), lambda s, v, n=n: setValue(s, n, v))
        )
    return type(cls.__name__, cls.__bases__, body)


__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "parameterNodeWrapper",
    "parameterPack",
]
