"""Loads series of the database through ITK's reader, as Slicer's plugin for scalar volumes does."""

import slicer


def loadSeriesByUID(seriesUIDs):
    """IDs of the nodes that were loaded; a series that cannot be read gives none."""
    if not isinstance(seriesUIDs, list):
        raise ValueError("SeriesUIDs must contain a list")
    if not slicer.dicomDatabase.isOpen:
        raise OSError("DICOM database module or database cannot be accessed")
    node_ids = []
    for uid in seriesUIDs:
        files = sorted(slicer.dicomDatabase.filesForSeries(uid), key=_height)
        node = _load(files, slicer.dicomDatabase.descriptionForSeries(uid)) if files else None
        if node is not None:
            instances = [slicer.dicomDatabase.fileValue(file, "0008,0018") for file in files]
            node.SetAttribute("DICOM.instanceUIDs", " ".join(instances))
            node_ids.append(node.GetID())
    return node_ids


def _height(file):
    """Slices follow each other along the patient: axial series alone are loaded here."""
    position = slicer.dicomDatabase.fileValue(file, "0020,0032")
    return float(position.strip("[]()").replace("\\", ",").split(",")[2])


def _load(files, name):
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name or "CT"))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetSingleFile(False)
    storage.SetFileName(files[0])
    for file in files:
        storage.AddFileName(file)
    if not storage.ReadData(node) or node.GetImageData() is None:
        scene.RemoveNode(node)
        return None
    node.CreateDefaultDisplayNodes()
    return node
