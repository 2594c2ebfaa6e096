"""Stand-ins for the CTK widgets that scripted modules use most."""

import qt
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


def _auto(T, name, default, notify=None):
    """a plain stored property with a setter method setName"""
    attr = "_p_" + name

    def get(self):
        return getattr(self, attr, default)

    def set_(self, v):
        changed = v != getattr(self, attr, default)
        setattr(self, attr, v)
        if changed and notify:
            getattr(self, notify).emit(v)

    return Property(T, get, set_), set_


def widget(cls):
    """class decorator: properties from cls._props, PythonQt attribute access, registration for .ui files"""
    for spec in getattr(cls, "_props", ()):
        name, T, default, *notify = spec
        prop, setter = _auto(T, name, default, *notify)
        setattr(cls, name, prop)
        setattr(cls, "set" + name[0].upper() + name[1:], setter)
    # rebuild so that Shiboken's meta object sees the Property objects
    body = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__", "staticMetaObject")}
    new = type(cls)(cls.__name__, cls.__bases__, body)
    new.__module__ = cls.__module__
    qt.custom_widgets[new.__name__] = new
    return new


@widget
class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that can be clicked and the content below it, which is hidden while collapsed."""

    contentsCollapsed = Signal(bool)
    _props = (
        ("text", str, ""),
        ("checked", bool, True),
        ("flat", bool, False),
        ("contentsLineWidth", int, 0),
    )
    HEADER = 26

    def __init__(self, parent=None):
        QtWidgets.QWidget.__init__(self, parent)
        self.setContentsMargins(0, self.HEADER, 0, 0)

    def setCollapsed(self, collapsed):
        if collapsed == self._collapsed():
            return
        self._is_collapsed = collapsed
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(not collapsed)
        self.setMaximumHeight(self.HEADER if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    def _collapsed(self):
        return getattr(self, "_is_collapsed", False)

    collapsed = Property(bool, _collapsed, setCollapsed)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        colour = QtWidgets.QApplication.palette().color(QtGui.QPalette.Button)
        painter.fillRect(0, 0, self.rect.width(), self.HEADER, colour)
        arrow = (
            "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}" if self._collapsed() else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        )
        painter.drawText(8, 18, f"{arrow} {self.property('text')}")
        painter.end()


@widget
class ctkCheckBox(QtWidgets.QCheckBox):
    pass


@widget
class ctkComboBox(QtWidgets.QComboBox):
    _props = (("defaultText", str, ""), ("defaultIcon", object, None))


@widget
class ctkPushButton(QtWidgets.QPushButton):
    pass


@widget
class ctkCheckablePushButton(QtWidgets.QPushButton):
    _props = (("checkBoxControlsButtonToggleState", bool, False),)


@widget
class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    pass


class _Slider:
    _props = (
        ("minimum", float, 0.0),
        ("maximum", float, 99.0),
        ("singleStep", float, 1.0),
        ("decimals", int, 2),
        ("pageStep", float, 10.0),
        ("suffix", str, ""),
        ("prefix", str, ""),
        ("tracking", bool, True),
        ("spinBoxVisible", bool, True),
        ("tickInterval", float, 0.0),
    )

    def _get(self):
        return getattr(self, "_value", 0.0)

    def setValue(self, v):
        v = min(max(float(v), self.minimum), self.maximum)
        if v != self._get():
            self._value = v
            self.valueChanged.emit(v)

    def setRange(self, a, b):
        self.setMinimum(a)
        self.setMaximum(b)
        self.setValue(self._get())


@widget
class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    _props = _Slider._props
    _get, setValue, setRange = _Slider._get, _Slider.setValue, _Slider.setRange
    value = Property(float, _Slider._get, _Slider.setValue)


@widget
class ctkDoubleSlider(QtWidgets.QWidget):
    valueChanged = Signal(float)
    _props = _Slider._props
    _get, setValue, setRange = _Slider._get, _Slider.setValue, _Slider.setRange
    value = Property(float, _Slider._get, _Slider.setValue)


@widget
class ctkRangeWidget(QtWidgets.QWidget):
    valuesChanged = Signal(float, float)
    _props = (
        ("minimum", float, 0.0),
        ("maximum", float, 99.0),
        ("minimumValue", float, 0.0),
        ("maximumValue", float, 99.0),
        ("decimals", int, 2),
        ("singleStep", float, 1.0),
    )

    def setRange(self, a, b):
        self.minimum, self.maximum = a, b
        self.setValues(self.minimumValue, self.maximumValue)

    def setValues(self, a, b):
        a, b = (min(max(v, self.minimum), self.maximum) for v in (a, b))
        if (a, b) != (self.minimumValue, self.maximumValue):
            self.minimumValue, self.maximumValue = a, b
            self.valuesChanged.emit(a, b)


@widget
class ctkDoubleRangeSlider(QtWidgets.QWidget):
    valuesChanged = Signal(float, float)
    _props, setRange, setValues = ctkRangeWidget._props, ctkRangeWidget.setRange, ctkRangeWidget.setValues


@widget
class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    Files, Dirs, Readable, Writable = 1, 2, 4, 8
    _props = (
        ("currentPath", str, "", "currentPathChanged"),
        ("settingKey", str, ""),
        ("showBrowseButton", bool, True),
        ("showHistoryButton", bool, True),
        ("filters", int, 0),
        ("nameFilters", "QStringList", []),
    )

    def addCurrentPathToHistory(self):
        pass


@widget
class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = Signal(str)
    _props = (("directory", str, "", "directoryChanged"),)


@widget
class ctkColorPickerButton(QtWidgets.QPushButton):
    colorChanged = Signal(object)
    _props = (("color", "QColor", None, "colorChanged"),)


class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgainSettingsKey = ""
