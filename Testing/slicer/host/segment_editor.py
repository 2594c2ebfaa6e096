"""qMRMLSegmentEditorWidget on the real vtkSlicerSegmentEditorLogic (Slicer >= 5.10)."""

import sys
import types

import ctk
import qt
import slicer
from qt import Signal
from segment_editor_effect import (
    qSlicerSegmentEditorAbstractEffect,
    qSlicerSegmentEditorEffectFactory,
    qSlicerSegmentEditorScriptedEffect,
)

for name in (
    "vtkSegmentationCore",
    "vtkITK",
    "vtkTeem",
    "MRMLCore",
    "MRMLLogic",
    "vtkSlicerBaseLogic",
):  # kit names inside Slicer
    module = sys.modules.get(f"slicer_core.{name}")
    for alias in {name + "Python"} | ({name} if name.startswith("vtk") else set()):
        sys.modules.setdefault(alias, module)


@ctk.widget
class qMRMLSegmentEditorWidget(qt.QWidget):
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    activeEffectChanged = Signal()
    _extra_signals = (
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)",
    )
    _props = (
        ("maximumNumberOfUndoStates", int, 10),
        ("segmentationNodeSelectorVisible", bool, True),
        ("sourceVolumeNodeSelectorVisible", bool, True),
        ("switchToSegmentationsButtonVisible", bool, True),
        ("readOnly", bool, False),
        ("autoShowSourceVolumeNode", bool, True),
    )

    def setMRMLScene(self, scene):
        self._scene = scene
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(scene)
        # the one part of the real widget that says what can be undone
        self._undo_button = qt.QToolButton(self)
        self._undo_button.setObjectName("UndoButton")
        self._undo_button.setVisible(False)
        event = slicer.vtkSlicerSegmentEditorLogic.SegmentationHistoryChangedEvent
        self.logic.AddObserver(event, self._history_changed)
        self._history_changed(None, None)

    def _history_changed(self, _caller, _event):
        self._undo_button.setEnabled(self.logic.CanUndo())

    def mrmlScene(self):
        return getattr(self, "_scene", None)

    def setMRMLSegmentEditorNode(self, node):
        self._node = node
        self.logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self):
        return getattr(self, "_node", None)

    def setSegmentationNode(self, n):
        self.logic.SetSegmentationNode(n)
        self.segmentationNodeChanged.emit(n)

    def segmentationNode(self):
        return self._node.GetSegmentationNode()

    def setSourceVolumeNode(self, n):
        self.logic.SetSourceVolumeNode(n)
        self.sourceVolumeNodeChanged.emit(n)

    def sourceVolumeNode(self):
        return self._node.GetSourceVolumeNode()

    def setCurrentSegmentID(self, i):
        self._node.SetSelectedSegmentID(i)
        self.currentSegmentIDChanged.emit(i)

    def currentSegmentID(self):
        return self._node.GetSelectedSegmentID()

    def availableEffectNames(self):
        return sorted(qSlicerSegmentEditorEffectFactory.instance().effects)

    def effectByName(self, name):
        cache = self.__dict__.setdefault("_effects", {})
        if name not in cache:
            e = qSlicerSegmentEditorEffectFactory.instance().effects.get(name)
            if e is None:
                return None
            e = cache[name] = e.clone()
            e._editor = self
            e.self().setupOptionsFrame()
            e.self().setMRMLDefaults()
            e.self().updateGUIFromMRML()
        return cache[name]

    def setActiveEffectByName(self, name):
        old, self._active = getattr(self, "_active", None), self.effectByName(name) if name else None
        if old is not None and hasattr(old.self(), "deactivate"):
            old.self().deactivate()
        self._node.SetActiveEffectName(name or "")
        if self._active is not None and hasattr(self._active.self(), "activate"):
            self._active.self().activate()
        self.activeEffectChanged.emit()

    def activeEffect(self):
        return getattr(self, "_active", None)

    def setActiveEffect(self, effect):
        self.setActiveEffectByName(effect.name if effect else "")

    def saveStateForUndo(self):
        self.logic.SaveStateForUndo()

    def undo(self):
        self.logic.Undo()

    def redo(self):
        self.logic.Redo()

    def setupViewObservations(self):
        pass

    removeViewObservations = setupViewObservations

    def installKeyboardShortcuts(self, parent=None):
        """Undo and redo of the real widget's keys; a second installation replaces the first."""
        self.uninstallKeyboardShortcuts()
        self._keys = []
        for key, action in (("Z", self.undo), ("Y", self.redo)):
            shortcut = qt.QShortcut(qt.QKeySequence(key), parent or self)
            shortcut.connect("activated()", action)
            self._keys.append(shortcut)

    def uninstallKeyboardShortcuts(self):
        for shortcut in getattr(self, "_keys", []):
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._keys = []


for _c in (
    qSlicerSegmentEditorAbstractEffect,
    qSlicerSegmentEditorScriptedEffect,
    qSlicerSegmentEditorEffectFactory,
    qMRMLSegmentEditorWidget,
):
    setattr(slicer, _c.__name__, _c)
slicer.qMRMLSegmentsTableView = ctk.widget(
    type(
        "qMRMLSegmentsTableView",
        (qt.QWidget,),
        {
            "selectionChanged": Signal(),
            "_extra_signals": ("selectionChanged(QItemSelection,QItemSelection)",),
            "setMRMLScene": lambda s, x: None,
            "setSegmentationNode": lambda s, n: setattr(s, "_seg", n),
            "segmentationNode": lambda s: s._seg,
            "selectedSegmentIDs": lambda s: getattr(s, "_sel", []),
            "setSelectedSegmentIDs": lambda s, v: setattr(s, "_sel", list(v)),
            "setHideSegments": lambda s, v: None,
            "_props": (
                ("selectionMode", int, 1),
                ("headerVisible", bool, True),
                ("visibilityColumnVisible", bool, True),
                ("opacityColumnVisible", bool, True),
                ("colorColumnVisible", bool, True),
                ("statusColumnVisible", bool, True),
                ("readOnly", bool, False),
                ("jumpToSelectedSegmentEnabled", bool, False),
            ),
        },
    )
)
_m = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
_m.qSlicerSegmentEditorScriptedEffect, _m.qSlicerSegmentEditorAbstractEffect = (
    qSlicerSegmentEditorScriptedEffect,
    qSlicerSegmentEditorAbstractEffect,
)
_m.qSlicerSegmentEditorScriptedPaintEffect = _m.qSlicerSegmentEditorScriptedLabelEffect = (
    qSlicerSegmentEditorScriptedEffect
)
sys.modules[_m.__name__] = _m
