"""A Qt-less Slicer host for tests: real MRML scene and module logics (slicer-core), PySide6 behind qt/ctk."""

import importlib
import importlib.util
import logging
import os
import pathlib
import sys
import tempfile
import types
from typing import ClassVar

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
import qt
import slicer
import slicer_core.MRMLCore
import vtk

sys.modules.setdefault("MRMLCorePython", slicer_core.MRMLCore)  # the name the kit has inside Slicer
from qt import Signal  # noqa: E402


def _noop(*a, **k):
    pass


# --- slicer.modules / slicer.moduleNames -------------------------------------------------------------
slicer.modules = types.ModuleType("slicer.modules")
sys.modules["slicer.modules"] = slicer.modules
slicer.moduleNames = types.ModuleType("slicer.moduleNames")
sys.modules["slicer.moduleNames"] = slicer.moduleNames
slicer.selfTests = {}


class Module:
    """what slicer.modules.<name> is for a built-in module: name, path, logic()"""

    def __init__(self, name, logic=None, path=""):
        self.name, self.title, self.path, self._logic = name, name, path, logic
        self.icon = qt.QIcon()

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return None

    def __getattr__(self, n):
        raise AttributeError(f"host module {self.name!r} has no {n!r}")


class ModuleManager(qt.QObject):
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)
    _extra_signals = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")

    def modulesNames(self):
        return sorted(vars(slicer.moduleNames))

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)

    def isLoaded(self, name):
        return hasattr(slicer.modules, name.lower())


class IOManager(qt.QObject):
    """loadNodes/saveNodes for the file types a segmentation module meets, through the real storage nodes"""

    newFileLoaded = Signal(object)
    _readers: ClassVar = {
        "VolumeFile": ("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode"),
        "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
        "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode"),
        "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
        "TextFile": ("vtkMRMLTextNode", "vtkMRMLTextStorageNode"),
        "ColorTableFile": ("vtkMRMLColorTableNode", "vtkMRMLColorTableStorageNode"),
        "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    }

    def loadNodes(self, fileType, properties, loadedNodes=None, messages=None):
        path = properties["fileName"]
        if fileType == "SceneFile":
            return app.loadScene(path, properties.get("clear", False))
        nodeClass, storageClass = self._readers[fileType]
        if fileType == "VolumeFile" and properties.get("labelmap"):
            nodeClass = "vtkMRMLLabelMapVolumeNode"
        scene = slicer.mrmlScene
        name = properties.get("name") or pathlib.Path(path).name.split(".")[0]
        node = scene.AddNewNodeByClass(nodeClass, scene.GenerateUniqueName(name))
        storage = scene.AddNewNodeByClass(storageClass)
        storage.SetFileName(path)
        ok = os.path.exists(path) and storage.ReadData(node)
        if not ok:
            scene.RemoveNode(storage)
            scene.RemoveNode(node)
            return False
        node.SetAndObserveStorageNodeID(storage.GetID())
        node.CreateDefaultDisplayNodes() if hasattr(node, "CreateDefaultDisplayNodes") else None
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        return True

    def loadNodesAndGetFirst(self, fileType, properties):
        c = vtk.vtkCollection()
        self.loadNodes(fileType, properties, c)
        return c.GetItemAsObject(0)

    def saveNodes(self, fileType, properties, messages=None):
        if fileType == "SceneFile":
            return app.saveScene(properties["fileName"])
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def saveScene(self, path, image=None):
        return app.saveScene(path)

    def fileWriterFileType(self, node, ext=""):
        return next(
            (t for t, (c, _) in self._readers.items() if node.IsA(c)),
            "VolumeFile" if node.IsA("vtkMRMLVolumeNode") else "NoFile",
        )


class Application(qt.QObject):
    startupCompleted = Signal()
    lastWindowClosed = Signal()
    aboutToQuit = Signal()
    mrmlSceneChanged = Signal(object)
    _extra_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    applicationName, applicationVersion, majorVersion, minorVersion, revision = "Slicer", "5.12.4", 5, 12, "host"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self):
        super().__init__()
        self._tmp = tempfile.TemporaryDirectory(prefix="slicer-host-")
        self.temporaryPath = self._tmp.name
        self.slicerHome = os.path.join(self._tmp.name, "home")
        self.extensionsInstallPath = os.path.join(self._tmp.name, "extensions")
        qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
        qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, self._tmp.name)
        qt.application.setOrganizationName("host")
        qt.application.setApplicationName("Slicer")
        self._settings = qt.QSettings()
        self._modules, self._io = ModuleManager(), IOManager()
        self.translations = {}  # (context, text) -> text, for tests of _()
        self.dialogs = []
        # MRML
        scene = self._scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        logic = self._logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        logic.SetTemporaryPath(self.temporaryPath)
        colors = logic.GetColorLogic()
        colors.SetMRMLScene(scene)
        colors.AddDefaultColorNodes()
        logic.SetModuleLogic("Colors", colors)
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        self._layout = slicer.vtkMRMLLayoutLogic()
        self._layout.SetMRMLScene(scene)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        for name in ("Red", "Green", "Yellow"):
            sl = slicer.vtkMRMLSliceLogic()
            sl.SetMRMLApplicationLogic(logic)
            sl.SetMRMLScene(scene)
            logic.GetSliceLogics().AddItem(sl)
            sl.AddSliceNode(name)
        # scene bundle reading needs a cache directory
        rio = self._remoteIO = slicer.vtkMRMLRemoteIOLogic()
        rio.SetMRMLScene(scene)
        rio.SetMRMLApplicationLogic(logic)
        rio.GetCacheManager().SetRemoteCacheDirectory(os.path.join(self.temporaryPath, "cache"))
        os.makedirs(os.path.join(self.temporaryPath, "cache"), exist_ok=True)
        rio.AddDataIOToScene()

    def _fixDefaults(self):
        pass

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def moduleManager(self):
        return self._modules

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def layoutManager(self):
        return None  # as with --no-main-window

    def mainWindow(self):
        return None

    def settings(self):
        return self._settings

    userSettings = revisionUserSettings = settings

    def testingEnabled(self):
        return True

    def translate(self, context, text):
        return self.translations.get((context, text), text)

    def processEvents(self, *a):
        qt.QApplication.processEvents()

    def moduleDocumentationUrl(self, name):
        return self.documentationBaseUrl + name

    def setOverrideCursor(self, c):
        qt.QApplication.setOverrideCursor(c)

    def restoreOverrideCursor(self):
        qt.QApplication.restoreOverrideCursor()

    pauseRender = resumeRender = restart = setRenderPaused = _noop

    def topLevelWidgets(self):
        return qt.QApplication.topLevelWidgets()

    def isInstalled(self):
        return True

    def clearScene(self):
        self._scene.Clear(0)

    def saveScene(self, path):
        s = self._scene
        s.SetURL(str(path))
        s.SetRootDirectory(os.path.dirname(str(path)))
        return bool(s.WriteToMRB(str(path), None)) if str(path).endswith(".mrb") else bool(s.Commit(str(path)))

    def loadScene(self, path, clear=True):
        s = self._scene
        if str(path).endswith(".mrb"):
            return bool(s.ReadFromMRB(str(path), clear))
        s.SetURL(str(path))
        return bool(s.Connect() if clear else s.Import())


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
