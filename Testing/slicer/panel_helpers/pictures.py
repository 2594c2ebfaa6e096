"""Pictures for looking at: of the panel, and of slices and surfaces by Slicer's own displayable managers."""

from __future__ import annotations

import itertools
from pathlib import Path

import slicer
import vtk
from PIL import Image


def picture_of(widget, path: Path) -> None:
    """Writes a widget as it stands on the screen."""
    for _ in range(5):  # a layout settles in several rounds
        slicer.app.processEvents()
    widget.grab().save(str(path))


def fit(window, width: int) -> None:
    """Makes a window as high as Slicer's scrolled module panel is at this width: wrapped lines need more then."""
    for _ in range(3):  # its parts say what they need one after the other
        slicer.app.processEvents()
        window.resize(width, window.layout().heightForWidth(width))


def colours(path: Path) -> int:
    """Number of different colours in a picture: 1 for a blank one."""
    with Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(picture.width * picture.height))


def cut_off(widget):
    """Texts of labels, buttons and tables that have less room than they need."""
    for child in _descendants(widget):
        kind = child.className()
        if kind == "QLabel" and child.wordWrap and child.height < child.heightForWidth(child.width):
            yield child.text
        elif (kind == "QLabel" and not child.wordWrap) or kind in ("QPushButton", "QCheckBox"):
            hint = child.minimumSizeHint  # a property in Slicer
            hint = hint() if callable(hint) else hint
            if child.width < hint.width() or child.height < hint.height():
                yield child.text
        elif kind == "QTableWidget":
            yield from _cut_off_in(child)


def _cut_off_in(table):
    letters = table.fontMetrics()
    if table.rowCount and table.rowHeight(0) < letters.height():
        yield f"rows of {table.name}"
    for column in range(table.columnCount):
        title = table.horizontalHeaderItem(column).text()
        if letters.boundingRect(title).width() > table.columnWidth(column):
            yield title


def overlapping(widget):
    """Names of widgets beside each other that cover one another."""
    for parent in (widget, *_descendants(widget)):
        children = [child for child in parent.children() if child.isWidgetType() and child.visible]
        for first, second in itertools.combinations(children, 2):
            if parent.layout() is not None and first.geometry.intersects(second.geometry):
                yield f"{first.name} and {second.name}"


def _descendants(widget):
    for child in widget.children():
        if child.isWidgetType() and child.visible:
            yield child
            if child.className() != "ctkCollapsibleButton" or not child.collapsed:
                yield from _descendants(child)


class View:
    """An off-screen render window with displayable managers. `factory`: vtkMRML...ViewDisplayableManagerFactory."""

    def __init__(self, factory, managers, size):
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        factory = factory.GetInstance()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)

    def write(self, path: Path) -> None:
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputConnection(grab.GetOutputPort())
        writer.Write()


def slice_picture(volume, path: Path, orientation="Axial", position=(0.0, 0.0, 0.0), size=(400, 400)) -> None:
    """The slice through `position` (RAS mm) with what the scene shows on it."""
    view = View(slicer.vtkMRMLSliceViewDisplayableManagerFactory,
                ["vtkMRMLModelSliceDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D"], size)
    view.renderer.GetActiveCamera().ParallelProjectionOn()
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    node = logic.AddSliceNode(slicer.mrmlScene.GenerateUniqueName("Picture"))
    node.SetOrientation(orientation)
    if not slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLInteractionNode"):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLInteractionNode")
    view.group.SetMRMLDisplayableNode(node)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.ResizeSliceNode(*size)
    logic.FitSliceToBackground()
    node.JumpSliceByOffsetting(*position)
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    view.renderer.AddViewProp(actor)
    view.write(path)


def surface_picture(path: Path, size=(400, 400)) -> None:
    """The scene's 3D view, from the front."""
    view = View(slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
                ["vtkMRMLCameraDisplayableManager", "vtkMRMLViewDisplayableManager",
                 "vtkMRMLModelDisplayableManager", "vtkMRMLSegmentationsDisplayableManager3D"], size)
    logic = slicer.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    node = logic.AddViewNode(slicer.mrmlScene.GenerateUniqueName("Picture"))
    view.group.SetMRMLDisplayableNode(node)
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    view.window.Render()
    view.renderer.ResetCamera()
    view.write(path)
