"""qMRMLSegmentEditorWidget + scripted effect adaptor, on the real vtkSlicerSegmentEditorLogic (Slicer >= 5.10)."""

import importlib.util
import pathlib
import sys
import types

import ctk
import qt
import slicer
from qt import Signal

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


class qSlicerSegmentEditorAbstractEffect(qt.QObject):
    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)
    NotConfirmed, ConfirmedWithoutDialog, ConfirmedWithDialog = range(3)


class qSlicerSegmentEditorScriptedEffect(qSlicerSegmentEditorAbstractEffect):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.title = ""
        self.perSegment = True
        self.requireSegments = True
        self.showEffectCursorInSliceView = False
        self._effectName = ""
        self._self = self._editor = None
        self._source = ""
        self._defaults, self._common = {}, set()
        self._frame = qt.QFrame()
        self._layout = qt.QFormLayout(self._frame)

    name = property(lambda s: s._effectName, lambda s, v: setattr(s, "_effectName", v))

    def setPythonSource(self, path):
        path = pathlib.Path(path)
        self._source = str(path)
        unique = f"_effect_{path.parent.name}_{path.stem}"
        spec = importlib.util.spec_from_file_location(unique, path)
        mod = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(mod)
        self._self = getattr(mod, path.stem)(self)
        self.title = self.title or self.name

    def self(self):
        return self._self

    def clone(self):
        return self._self.clone()

    # --- parameters live on the segment editor node, exactly as "Effect.Parameter" attributes
    def parameterSetNode(self):
        return self._editor.mrmlSegmentEditorNode() if self._editor else None

    def _key(self, p):
        return p if p in self._common else f"{self.name}.{p}"

    def parameterDefined(self, p):
        return self.parameterSetNode().GetAttribute(self._key(p)) is not None

    def parameter(self, p):
        v = self.parameterSetNode().GetAttribute(self._key(p))
        return "" if v is None else v

    def integerParameter(self, p):
        return int(float(self.parameter(p) or 0))

    def doubleParameter(self, p):
        return float(self.parameter(p) or 0)

    def setParameter(self, p, v):
        self.parameterSetNode().SetAttribute(self._key(p), str(int(v)) if isinstance(v, bool) else str(v))

    def setParameterDefault(self, p, v):
        if not self.parameterDefined(p):
            self.setParameter(p, v)

    def setCommonParameter(self, p, v):
        self._common.add(p)
        self.setParameter(p, v)

    def setCommonParameterDefault(self, p, v):
        self._common.add(p)
        self.setParameterDefault(p, v)

    def nodeReference(self, p):
        return self.parameterSetNode().GetNodeReference(self._key(p))

    def setNodeReference(self, p, n):
        self.parameterSetNode().SetNodeReferenceID(self._key(p), n.GetID() if n else None)

    # --- options
    def optionsFrame(self):
        return self._frame

    def addOptionsWidget(self, w):
        self._layout.addRow(w)
        return w

    def addLabeledOptionsWidget(self, label, w):
        self._layout.addRow(label, w)
        return self._layout.labelForField(w) if isinstance(w, qt.QWidget) else None

    def updateGUIFromMRML(self):
        self._self.updateGUIFromMRML()

    def updateMRMLFromGUI(self):
        self._self.updateMRMLFromGUI()

    def showEffectCursorInThreeDView(self):
        return False

    # --- labelmaps
    @property
    def _l(self):
        return self._editor.logic

    def confirmCurrentSegmentVisible(self):
        return self.ConfirmedWithoutDialog

    def saveStateForUndo(self):
        self._l.SaveStateForUndo()

    def sourceVolumeImageData(self):
        self._l.UpdateReferenceGeometryImage()
        self._l.UpdateAlignedSourceVolume()
        return self._l.GetAlignedSourceVolume()

    def selectedSegmentLabelmap(self):
        self._l.UpdateSelectedSegmentLabelmap()
        return self._l.GetSelectedSegmentLabelmap()

    def defaultModifierLabelmap(self):
        self._l.UpdateReferenceGeometryImage()
        self._l.ResetModifierLabelmapToDefault()
        return self._l.GetModifierLabelmap()

    modifierLabelmap = defaultModifierLabelmap

    def maskLabelmap(self):
        self._l.UpdateMaskLabelmap()
        return self._l.GetMaskLabelmap()

    def modifySegmentByLabelmap(self, seg, sid, lm, mode, extent=None, bypassMasking=False):
        self._l.ModifySegmentByLabelmap(
            seg,
            sid,
            lm,
            getattr(
                slicer.vtkSlicerSegmentEditorLogic,
                ("ModificationModeSet", "ModificationModeAdd", "ModificationModeRemove", "ModificationModeRemoveAll")[
                    int(mode)
                ],
            ),
            self.perSegment,
            bool(bypassMasking),
        )

    def modifySelectedSegmentByLabelmap(self, lm, mode, extent=None, bypassMasking=False):
        n = self.parameterSetNode()
        self.modifySegmentByLabelmap(n.GetSegmentationNode(), n.GetSelectedSegmentID(), lm, mode)

    def selectEffect(self, name):
        self._editor.setActiveEffectByName(name)


class qSlicerSegmentEditorEffectFactory:
    _factory = None

    def __init__(self):
        self.effects = {}

    @classmethod
    def instance(cls):
        cls._factory = cls._factory or cls()
        return cls._factory

    def registerEffect(self, e):
        self.effects[e.name] = e
        return True


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
