"""Stand-ins for qMRML widgets that work on the real scene; registered for .ui files and as `slicer.qMRML...`."""

import ctk
import qt
import shiboken6
import slicer
import slicer.util
from qt import Property, Signal


def _noop(*a, **k):
    pass


class _SceneMixin:
    def mrmlScene(self):
        return getattr(self, "_scene", None)

    def setMRMLScene(self, scene):
        self._scene = scene
        if hasattr(self, "mrmlSceneChanged"):
            self.mrmlSceneChanged.emit(scene)

    def setmrmlScene(self, s):
        self.setMRMLScene(s)


@ctk.widget
class qMRMLWidget(qt.QWidget):
    mrmlSceneChanged = Signal(object)
    _extra_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlScene, setMRMLScene = _SceneMixin.mrmlScene, _SceneMixin.setMRMLScene
    isEntered = False


@ctk.widget
class qSlicerWidget(qt.QWidget):
    mrmlSceneChanged = Signal(object)
    _extra_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlScene, setMRMLScene = _SceneMixin.mrmlScene, _SceneMixin.setMRMLScene


@ctk.widget
class qMRMLNodeComboBox(qt.QWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    _extra_signals = ("currentNodeChanged(vtkMRMLNode*)", "nodeAddedByUser(vtkMRMLNode*)", "currentNodeChanged(bool)")
    _props = (
        ("nodeTypes", "QVariantList", ()),
        ("showHidden", bool, False),
        ("showChildNodeTypes", bool, True),
        ("noneEnabled", bool, False),
        ("addEnabled", bool, True),
        ("removeEnabled", bool, True),
        ("editEnabled", bool, False),
        ("renameEnabled", bool, False),
        ("baseName", str, ""),
        ("noneDisplay", str, "None"),
        ("selectNodeUponCreation", bool, True),
        ("interactionNodeSingletonTag", str, ""),
    )
    mrmlScene = _SceneMixin.mrmlScene

    def setMRMLScene(self, scene):
        old = getattr(self, "_scene", None)
        if old is scene:
            return
        if old is not None:
            old.RemoveObserver(self._tag)
            old.RemoveObserver(self._tag2)
        self._scene = scene
        self._shown()
        if scene is not None:
            self._tag = scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, lambda *a: self._refresh())
            self._tag2 = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, lambda *a: self._refresh())
        self._refresh()

    def nodes(self):
        if self.mrmlScene() is None:
            return []
        out = []
        for cls in self.nodeTypes:
            for n in slicer.util.getNodesByClass(cls, self._scene):
                if n.GetHideFromEditors() and not self.showHidden:
                    continue
                if not self.showChildNodeTypes and n.GetClassName() not in self.nodeTypes:
                    continue
                if all(
                    n.GetAttribute(a) is not None and (v is None or n.GetAttribute(a) == v)
                    for t, a, v in getattr(self, "_attrs", [])
                    if t == cls
                ):
                    out.append(n)
        return out

    def addAttribute(self, nodeType, name, value=None):
        self.__dict__.setdefault("_attrs", []).append((nodeType, name, value))
        self._refresh()

    def nodeCount(self):
        return len(self.nodes())

    def nodeFromIndex(self, i):
        return self.nodes()[i]

    def currentNode(self):
        return getattr(self, "_node", None)

    def _refresh(self):
        if not shiboken6.isValid(self):
            return
        node, nodes = self.currentNode(), self.nodes()
        if node is not None and node not in nodes:
            node = None
        self._set(node)  # a node added later is not selected by itself (Slicer's own test says so)

    def _shown(self):
        """A combo box that shows the current node's name, for pictures of the panel."""
        if not hasattr(self, "_box"):
            self._box = qt.QComboBox(self)
            layout = qt.QVBoxLayout(self)
            layout.setContentsMargins(0, 0, 0, 0)
            layout.addWidget(self._box)
        node = self.currentNode()
        self._box.clear()
        self._box.addItem(node.GetName() if node else self.noneDisplay)

    def _set(self, node):
        if node is self.currentNode():
            return
        self._node = node
        self._shown()
        self.currentNodeChanged.emit(node)
        self.currentNodeIDChanged.emit(node.GetID() if node else "")

    def setCurrentNode(self, node):
        self._set(node if node in self.nodes() else None)  # None is accepted even without noneEnabled

    def setCurrentNodeID(self, i):
        self.setCurrentNode(self._scene.GetNodeByID(i) if i else None)

    def _id(self):
        n = self.currentNode()
        return n.GetID() if n else ""

    currentNodeID = Property(str, _id, setCurrentNodeID)

    def addNode(self, nodeType=None):
        n = self._scene.AddNewNodeByClass(nodeType or self.nodeTypes[0], self.baseName or "")
        if self.selectNodeUponCreation:
            self.setCurrentNode(n)
        self.nodeAddedByUser.emit(n)
        return n


@ctk.widget
class qMRMLSliderWidget(qt.QWidget):
    valueChanged = Signal(float)
    _props = (*ctk._Slider._props, ("quantity", str, ""), ("unitAwareProperties", int, 63))
    _get, setValue, setRange = ctk._Slider._get, ctk._Slider.setValue, ctk._Slider.setRange
    value = Property(float, ctk._Slider._get, ctk._Slider.setValue)
    setMRMLScene = _noop


@ctk.widget
class qMRMLSpinBox(qt.QDoubleSpinBox):
    MinimumValue, MaximumValue, Precision, Suffix, Prefix, Scaling = 1, 2, 4, 8, 16, 32
    _props = (("quantity", str, ""), ("unitAwareProperties", int, 63))
    setMRMLScene = _noop


@ctk.widget
class qMRMLRangeWidget(qt.QWidget):
    valuesChanged = Signal(float, float)
    _props, setRange, setValues = ctk.ctkRangeWidget._props, ctk.ctkRangeWidget.setRange, ctk.ctkRangeWidget.setValues
    setMRMLScene = _noop


@ctk.widget
class qMRMLSubjectHierarchyComboBox(qt.QWidget):
    currentItemChanged = Signal(int)
    mrmlScene, setMRMLScene = _SceneMixin.mrmlScene, _SceneMixin.setMRMLScene

    def currentItem(self):
        return getattr(self, "_item", 0)

    def setCurrentItem(self, i):
        self._item = i
        self.currentItemChanged.emit(i)

    def clearSelection(self):
        self.setCurrentItem(0)


@ctk.widget
class qMRMLSubjectHierarchyTreeView(qt.QTreeView):
    currentItemChanged = Signal(int)
    mrmlScene, setMRMLScene = _SceneMixin.mrmlScene, _SceneMixin.setMRMLScene

    def currentItem(self):
        return getattr(self, "_item", 0)

    def setCurrentItem(self, i):
        self._item = i
        self.currentItemChanged.emit(i)

    def clearSelection(self):
        self.setCurrentItem(0)


for _c in list(qt.custom_widgets.values()):
    if _c.__name__.startswith("q"):
        setattr(slicer, _c.__name__, _c)
