"""A Qt-less Slicer host for tests: real MRML scene and module logics (slicer-core), PySide6 behind qt/ctk."""

import importlib
import importlib.util
import logging
import os
import pathlib
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import qt
import slicer
import slicer_core.MRMLCore
import vtk

sys.modules.setdefault("MRMLCorePython", slicer_core.MRMLCore)  # the name the kit has inside Slicer
from slicer_application import Application, Module  # noqa: E402

# --- slicer.modules / slicer.moduleNames -------------------------------------------------------------
slicer.modules = types.ModuleType("slicer.modules")
sys.modules["slicer.modules"] = slicer.modules
slicer.moduleNames = types.ModuleType("slicer.moduleNames")
sys.modules["slicer.moduleNames"] = slicer.moduleNames
slicer.selfTests = {}

# --- start ---------------------------------------------------------------------------------------------
app = slicer.app = Application()
slicer.mrmlScene = app.mrmlScene()
import qmrml  # noqa: E402
import slicer.util  # noqa: E402


class qSlicerScriptedLoadableModule(Module):
    pass


class qSlicerScriptedLoadableModuleWidget(qmrml.qMRMLWidget):
    pass


slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget


def addModule(name, logic):
    for call, arg in (
        ("SetModuleShareDirectory", None),
        ("SetMRMLApplicationLogic", app.applicationLogic()),
        ("SetMRMLScene", slicer.mrmlScene),
    ):
        if arg is not None and hasattr(logic, call):
            getattr(logic, call)(arg)
    app.applicationLogic().SetModuleLogic(name, logic) if isinstance(logic, slicer.vtkMRMLAbstractLogic) else None
    setattr(slicer.modules, name.lower(), Module(name, logic))
    setattr(slicer.moduleNames, name, name)
    return logic


vtk.vtkObject.GlobalWarningDisplayOff()  # the wheel has no terminology files; the logic loads them in SetMRMLScene
for _name, _cls in (
    ("Colors", None),
    ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    ("Volumes", "vtkSlicerVolumesLogic"),
    ("Models", "vtkSlicerModelsLogic"),
    ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    ("Markups", "vtkSlicerMarkupsLogic"),
    ("CropVolume", "vtkSlicerCropVolumeLogic"),
    ("Transforms", "vtkSlicerTransformLogic"),
    ("Tables", "vtkSlicerTablesLogic"),
    ("Plots", "vtkSlicerPlotsLogic"),
    ("Texts", "vtkSlicerTextsLogic"),
    ("Data", "vtkSlicerDataModuleLogic"),
    ("VolumeRendering", "vtkSlicerVolumeRenderingLogic"),
):
    addModule(_name, getattr(slicer, _cls)() if _cls else app.applicationLogic().GetColorLogic())
vtk.vtkObject.GlobalWarningDisplayOn()

import segment_editor  # noqa: E402, F401


@vtk.calldata_type(vtk.VTK_OBJECT)
def _addToSubjectHierarchy(scene, event, node):
    """What the subject hierarchy's plugins do for data nodes in Slicer."""
    data = ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTransformNode", "vtkMRMLModelNode")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if any(node.IsA(name) for name in data) and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, _addToSubjectHierarchy)


def useSlicerPython(directory):
    """Takes slicer.ScriptedLoadableModule, parameterNodeWrapper ... from `directory`: Base/Python or stand-ins."""
    slicer.__path__.append(os.path.join(str(directory), "slicer"))
    for name in ("i18n", "testing", "packaging", "ScriptedLoadableModule", "parameterNodeWrapper"):
        try:
            setattr(slicer, name, importlib.import_module("slicer." + name))
        except ModuleNotFoundError as e:
            logging.debug("host: no slicer.%s (%s)", name, e)


def loadScriptedModule(path):
    """what Slicer does with a module file: import it, make <Name>(parent), register slicer.modules.<name>"""
    path = pathlib.Path(path).resolve()
    name = path.stem
    sys.path.insert(0, str(path.parent)) if str(path.parent) not in sys.path else None
    mod = importlib.import_module(name)
    parent = qSlicerScriptedLoadableModule(name, None, str(path))
    for a in (
        "title",
        "categories",
        "dependencies",
        "contributors",
        "helpText",
        "acknowledgementText",
        "icon",
        "hidden",
        "index",
    ):
        setattr(parent, a, None)
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.moduleNames, name, name)
    instance = getattr(mod, name)(parent)
    setattr(slicer.modules, name + "Instance", instance)

    def createWidget():
        w = qSlicerScriptedLoadableModuleWidget()
        w.setLayout(qt.QVBoxLayout())
        w.setMRMLScene(slicer.mrmlScene)
        obj = getattr(mod, name + "Widget")(w)
        setattr(slicer.modules, name + "Widget", obj)
        obj.setup()
        w.isEntered = True
        if hasattr(obj, "enter"):
            obj.enter()
        w._python = obj
        return w

    parent.createNewWidgetRepresentation = createWidget

    def rep():
        if "_w" not in parent.__dict__:
            parent._w = createWidget()
        return parent._w

    parent.widgetRepresentation = rep
    return mod, instance
