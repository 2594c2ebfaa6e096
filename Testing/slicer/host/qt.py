"""`import qt` the way Slicer (PythonQt) offers it, on top of PySide6.

PythonQt differs from PySide6 in what a scripted module sees:
  * Qt properties are attributes:     w.text, w.enabled = True, w.checked   (w.text() is an error)
  * string signals:                   w.connect("clicked(bool)", fn); w.disconnect("clicked(bool)", fn)
  * one flat module                   qt.QTimer, qt.QWidget, qt.QUiLoader ...
  * obj.name == obj.objectName, obj.className(), no-argument callables on signals with arguments
"""

import contextlib
import enum
import functools
import inspect
import pathlib
import sys
import types
import xml.etree.ElementTree as ET

from PySide6 import QtCore, QtGui, QtNetwork, QtTest, QtUiTools, QtWidgets

_this_module = sys.modules[__name__]
_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtTest)
for _m in _MODULES:
    for _n in dir(_m):
        if _n.startswith("Q"):
            setattr(_this_module, _n, getattr(_m, _n))
Qt = QtCore.Qt
Signal, Slot, Property = QtCore.Signal, QtCore.Slot, QtCore.Property

# --- 1. properties as attributes -------------------------------------------------------------------
# names that are also C++ virtual functions: replacing those would recurse through Shiboken's dispatch
_VIRTUAL = {
    "sizeHint",
    "minimumSizeHint",
    "duration",
    "singleShot",
}  # a static method of QTimer: in PythonQt the slot wins over the property


def _make_property(cls, name):
    cap = name[0].upper() + name[1:]
    # Qt's own ways to name a getter: text(), isEnabled(), hasFocus().
    getters = (getattr(cls, getter_name, None) for getter_name in (name, "is" + cap, "has" + cap))
    getter = next(filter(callable, getters), None)
    setter = getattr(cls, "set" + cap, None)

    def fget(self):
        return getter(self) if getter is not None else self.property(name)

    def fset(self, value):
        if setter is not None:
            try:
                return setter(self, value)
            except TypeError:
                # PySide6 is stricter about types than the meta object, which is what PythonQt asks.
                pass
        if not self.setProperty(name, value):
            raise TypeError(f"cannot set {cls.__name__}.{name} to {value!r}")

    return property(fget, fset)


def expose_properties(cls):
    """Give `cls` (a PySide6 class or a Python subclass with Property()s) PythonQt's attribute access."""
    mo = cls.staticMetaObject
    for i in range(mo.propertyOffset(), mo.propertyCount()):
        name = mo.property(i).name()
        current = inspect.getattr_static(cls, name, None)
        if name in _VIRTUAL or isinstance(current, (property, QtCore.Property)):
            continue
        setattr(cls, name, _make_property(cls, name))
    return cls


_patched = set()


def _patch(cls):
    for base in reversed(cls.__mro__):
        if base in _patched or not isinstance(base, type) or not issubclass(base, QtCore.QObject):
            continue
        _patched.add(base)
        expose_properties(base)


for _n in list(vars(_this_module)):
    _c = getattr(_this_module, _n)
    if isinstance(_c, type) and issubclass(_c, QtCore.QObject):
        _patch(_c)


# enums are ints in PythonQt: Qt.Checked == 2, int(QSizePolicy.Expanding)
def _int_enums(container):
    for v in list(vars(container).values()):
        if isinstance(v, enum.EnumMeta) and not issubclass(v, int):
            v.__int__ = v.__index__ = lambda s: s.value
            v.__eq__ = lambda s, o: s.value == (o.value if isinstance(o, enum.Enum) else o)
            v.__hash__ = lambda s: hash(s.value)


for _m in _MODULES:
    _int_enums(Qt)
    for _c in vars(_m).values():
        if isinstance(_c, type):
            _int_enums(_c)

QtCore.QObject.name = property(lambda s: s.objectName, lambda s, v: s.setObjectName(v))
QtCore.QObject.className = lambda s: s.metaObject().className()
QtCore.QObject.delete = lambda s: s.deleteLater()

# --- 2. string based connect -----------------------------------------------------------------------
_qobject_connect, _qobject_disconnect = QtCore.QObject.connect, QtCore.QObject.disconnect


_signatures_of = {}  # class -> the signatures of its signals; asking Qt for them takes a millisecond each time


def _signatures(obj):
    if type(obj) not in _signatures_of:
        mo = obj.metaObject()
        _signatures_of[type(obj)] = {
            bytes(mo.method(i).methodSignature()).decode()
            for i in range(mo.methodCount())
            if mo.method(i).methodType() == QtCore.QMetaMethod.MethodType.Signal
        }
    return _signatures_of[type(obj)]


def _signal(obj, spec):
    """bound signal for 'name(type,type)'; refuses signals the object does not have, as PythonQt does"""
    name, _, args = spec.partition("(")
    args = args.rstrip(")").replace(" ", "")
    with contextlib.suppress(AttributeError):
        inspect.getattr_static(type(obj), name)
    bound = getattr(obj, name, None)
    if bound is None or not hasattr(bound, "connect"):
        raise ValueError(f"{type(obj).__name__} has no signal {spec}")
    signatures = _signatures(obj)
    if f"{name}({args})" in signatures:
        try:
            return _overload(bound, signatures, name, args)
        except (KeyError, IndexError):
            return bound
    declared = getattr(type(obj), "_extra_signals", {})
    if any(k.split("(")[0] == name and k == f"{name}({args})" for k in declared):
        return bound
    similar = sorted(k for k in signatures | set(declared) if k.startswith(name + "("))
    raise ValueError(f"{type(obj).__name__} has no signal {spec}; has {similar}")


def _overload(bound, signatures, name, args):
    types = {"int": int, "bool": bool, "double": float, "QString": str, "": None}
    if sum(k.startswith(name + "(") for k in signatures) <= 1 or args not in types:
        return bound
    return bound if types[args] is None else bound[types[args]]


def _is_string_connection(self, a):
    return len(a) == 2 and isinstance(a[0], str) and not isinstance(a[1], str) and callable(a[1])


def _connect(self, *a):
    if _is_string_connection(self, a):
        try:
            signal = _signal(self, a[0])
        except ValueError as e:  # PythonQt prints and returns False: nobody notices, so be loud here
            raise ValueError(f"{e} (real PythonQt only prints this and returns False)") from None
        signal.connect(a[1])
        self.__dict__.setdefault("_links", []).append((a[0], a[1]))
        return True
    return _qobject_connect(
        *(a if a and a[0] is self else (self, *a))
    )  # PySide6's own SignalInstance.connect passes self again


def _disconnect(self, *a):
    if _is_string_connection(self, a):
        links = self.__dict__.get("_links", [])
        if (a[0], a[1]) not in links:
            return False
        links.remove((a[0], a[1]))
        _signal(self, a[0]).disconnect(a[1])
        return True
    return _qobject_disconnect(*(a if a and a[0] is self else (self, *a)))


# PySide6 answers obj.connect from C++ (QObject's own tp_getattro) before any Python attribute is looked at,
# so the instance form has to be taken over there.
_methods = {"connect": _connect, "disconnect": _disconnect}


def _take_over(cls, original):
    def __getattribute__(self, name):
        f = _methods.get(name)
        return original(self, name) if f is None else types.MethodType(f, self)

    cls.__getattribute__ = __getattribute__


for _c in sorted(
    (c for c in _patched if "__getattribute__" in vars(c)), key=lambda c: -len(c.__mro__)
):  # QObject, QProcess, QMenu, QFile ...
    _take_over(_c, _c.__getattribute__)


def stray_attributes(root):
    """attributes that Python code put on plain Qt objects below root: real PythonQt raises AttributeError for those"""
    strays = set()
    for w in [root, *root.findChildren(QtCore.QObject)]:
        if not type(w).__module__.startswith("PySide6."):
            continue
        for k, v in w.__dict__.items():
            if k not in ("_links", "_keep") and not isinstance(v, QtCore.SignalInstance):
                strays.add(f"{w.objectName or type(w).__name__}.{k}")
    return strays


for _n in ("QDialog", "QMenu", "QMessageBox", "QFileDialog", "QInputDialog", "QProgressDialog", "QApplication"):
    _c = getattr(_this_module, _n)
    if not hasattr(_c, "exec_"):
        _c.exec_ = _c.exec

# --- 3. QUiLoader that knows the ctk*/qMRML*/qSlicer* stand-ins --------------------------------------
custom_widgets = {}


@functools.cache
def _loader_of(classes):
    """Qt's loader that knows these stand-ins. Registering them takes longer than loading a file: once is enough."""
    loader = QtUiTools.QUiLoader()
    for cls in classes:
        loader.registerCustomWidget(cls)
    return loader


@functools.cache
def _prepared(data):
    """A .ui file's text as Qt's loader can take it, and its connections; checked. A panel is made hundreds of times."""
    root = ET.fromstring(data)
    connections = [
        tuple(c.findtext(t) for t in ("sender", "signal", "receiver", "slot")) for c in root.iter("connection")
    ]
    classes = {w.get("class") for w in root.iter("widget")}
    unknown = sorted(n for n in classes if not n.startswith("Q") and n != "Line" and n not in custom_widgets)
    if unknown:
        raise RuntimeError(f".ui uses widget classes this host has no stand-in for: {unknown}")
    for c in root.findall("connections"):
        root.remove(c)
    _check_properties(root)
    return ET.tostring(root), connections


def _check_properties(root):
    """a property in the .ui that the class does not have is silently dropped by Qt; say so instead"""
    for w in root.iter("widget"):
        cls = custom_widgets.get(w.get("class"))
        if cls is None:
            continue
        mo = cls.staticMetaObject
        have = {mo.property(i).name() for i in range(mo.propertyCount())}
        for p in w.findall("property"):
            if p.get("stdset") != "0" and p.get("name") not in have:
                raise RuntimeError(f".ui sets {w.get('class')}.{p.get('name')}, unknown to the stand-in")


class QUiLoader:
    """Loads .ui files; wires <connections> in Python because their C++ argument types do not exist here."""

    def load(self, device, parent=None):
        data = bytes(device.readAll()) if hasattr(device, "readAll") else pathlib.Path(device).read_bytes()
        text, connections = _prepared(data)
        loader = _loader_of(tuple(custom_widgets.values()))
        buffer = QtCore.QBuffer()
        buffer.setData(text)
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = loader.load(buffer, parent)
        if widget is None:
            raise RuntimeError(loader.errorString())
        for w in [widget, *widget.findChildren(QtCore.QObject)]:  # keep the Python half of each stand-in alive
            widget.__dict__.setdefault("_keep", []).append(w)
        byName = {w.objectName: w for w in widget._keep}
        for sender, signal, receiver, slot in connections:
            s, r = byName[sender], byName[receiver]
            _signal(s, signal).connect(getattr(r, slot.split("(")[0]))
        return widget


application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["host"])
