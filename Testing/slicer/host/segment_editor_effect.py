"""The scripted effect's adaptor of the segment editor, and the factory that effects are registered with."""

import importlib.util
import pathlib

import qt
import slicer


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
