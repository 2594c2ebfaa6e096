"""One parameter and one widget: how it is read, written and heard of, by the parameter's type and the widget's."""

import contextlib
import enum
import pathlib

import ctk
import qt
import slicer

from .validators import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange


class Connector:
    """(read, write, signal) of one widget for one member"""

    def __init__(self, w, m, changed):
        self.w, self.changed = w, changed
        bounds = next((v for v in m.validators if isinstance(v, WithinRange)), None)
        if (
            isinstance(w, (qt.QSlider, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget))
            and bounds is None
            and not {Minimum, Maximum} <= {type(v) for v in m.validators}
        ):
            raise RuntimeError(f"{m.name}: a slider needs a bounded parameter")
        if m.type in (int, float) and hasattr(w, "minimum"):
            sides = {s: getattr(v, s) for v in m.validators for s in ("minimum", "maximum") if hasattr(v, s)}
            lowest, highest = (-(2**31), 2**31 - 1) if m.type is int else (-float("inf"), float("inf"))
            w.minimum, w.maximum = sides.get("minimum", lowest), sides.get("maximum", highest)
        for n in m.notes:
            if isinstance(n, Decimals) and not isinstance(n, SingleStep):
                w.decimals = n.value
            if isinstance(n, SingleStep):
                w.singleStep = n.value
        t = m.type
        if t is bool and isinstance(w, (qt.QCheckBox, qt.QPushButton)):
            if isinstance(w, qt.QPushButton):
                w.checkable = True
            self.read, self.write, self.signal = (
                (lambda: w.checked),
                (lambda v: setattr(w, "checked", bool(v))),
                w.toggled,
            )
        elif t in (int, float) and hasattr(w, "valueChanged"):
            if t is int and isinstance(w, qt.QDoubleSpinBox):
                raise RuntimeError(f"{m.name}: int on a QDoubleSpinBox")
            self.read, self.write, self.signal = (
                (lambda: t(w.value)),
                (lambda v: setattr(w, "value", v)),
                w.valueChanged,
            )
        elif isinstance(t, type) and issubclass(t, enum.Enum) and isinstance(w, qt.QComboBox):
            w.clear()
            [w.addItem(e.label() if hasattr(e, "label") and callable(e.label) else e.name, e.name) for e in t]
            self.read = lambda: t[w.itemData(w.currentIndex)]
            self.write = lambda v: setattr(w, "currentIndex", list(t).index(v))
            self.signal = w.currentIndexChanged
        elif t in (str, int, float, bool) and isinstance(w, qt.QComboBox):
            choice = next((v for v in m.validators if isinstance(v, Choice)), None)
            if choice is None:
                raise RuntimeError(f"{m.name}: a combo box needs Choice")
            w.clear()
            [w.addItem(str(c)) for c in choice.choices]
            self.read = lambda: choice.choices[w.currentIndex]
            self.write = lambda v: setattr(w, "currentIndex", choice.choices.index(v))
            self.signal = w.currentIndexChanged
        elif t is str and isinstance(w, qt.QLineEdit):
            self.read, self.write, self.signal = (lambda: w.text), (lambda v: setattr(w, "text", v)), w.textChanged
        elif t is str and isinstance(w, qt.QTextEdit):
            self.read, self.write, self.signal = (
                (lambda: w.plainText),
                (lambda v: setattr(w, "plainText", v)),
                w.textChanged,
            )
        elif t is str and isinstance(w, qt.QLabel):
            self.read, self.write, self.signal = (lambda: w.text), (lambda v: setattr(w, "text", v)), None
        elif (
            isinstance(t, type)
            and issubclass(t, pathlib.PurePath)
            and isinstance(w, (ctk.ctkPathLineEdit, ctk.ctkDirectoryButton))
        ):
            p, s = (
                ("currentPath", w.currentPathChanged)
                if isinstance(w, ctk.ctkPathLineEdit)
                else ("directory", w.directoryChanged)
            )
            self.read, self.write, self.signal = (lambda: t(getattr(w, p))), (lambda v: setattr(w, p, str(v))), s
        elif m.node and isinstance(w, slicer.qMRMLNodeComboBox):
            self.read, self.write, self.signal = w.currentNode, w.setCurrentNode, w.currentNodeChanged
        else:
            raise RuntimeError(f"no connector for {m.name}: {m.hint} on {type(w).__name__}")
        self.slot = lambda *a: self.changed()
        if self.signal is not None:
            self.signal.connect(self.slot)

    def close(self):
        if self.signal is not None:
            with contextlib.suppress(RuntimeError, TypeError):
                self.signal.disconnect(self.slot)
