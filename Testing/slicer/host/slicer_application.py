"""What slicer.app is, with its module manager, file readers and writers: real MRML logics, no main window."""

import os
import pathlib
import tempfile
from typing import ClassVar

import qt
import slicer
import vtk
from qt import Signal


def _noop(*a, **k):
    pass


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
            return slicer.app.loadScene(path, properties.get("clear", False))
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
            return slicer.app.saveScene(properties["fileName"])
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def saveScene(self, path, image=None):
        return slicer.app.saveScene(path)

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
