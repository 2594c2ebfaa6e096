"""slicer.dicomDatabase on files of a folder: ctkDICOMDatabase's methods that the module calls, and nothing else.

`use(folder)` puts one in the place of Slicer's; DICOMLib.DICOMUtils, beside this file, loads series of it.
"""

import pathlib

import pydicom
import qt
import slicer


class ctkDICOMDatabase(qt.QObject):
    """Patients, studies and series by their UIDs, as ctk gives them: everything is text."""

    def __init__(self, folder):
        super().__init__()
        self.isOpen = True
        self._headers = {}
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_file():
                self._headers[str(path)] = pydicom.dcmread(path, stop_before_pixels=True)

    def _distinct(self, name, **tags):
        values = {}
        for header in self._headers.values():
            if all(str(header.get(key, "")) == value for key, value in tags.items()):
                values[str(header.get(name, ""))] = None
        return tuple(values)

    def _of_series(self, name, uid):
        return next(iter(self._distinct(name, SeriesInstanceUID=uid)), "")

    def patients(self):
        return self._distinct("PatientID")

    def studiesForPatient(self, patientUID):
        return self._distinct("StudyInstanceUID", PatientID=patientUID)

    def seriesForStudy(self, studyUID):
        return self._distinct("SeriesInstanceUID", StudyInstanceUID=studyUID)

    def filesForSeries(self, seriesUID, hits=-1):
        files = [path for path, header in self._headers.items() if header.get("SeriesInstanceUID") == seriesUID]
        return tuple(files if hits < 0 else files[:hits])

    def fileForInstance(self, sopInstanceUID):
        return next((path for path, header in self._headers.items() if header.SOPInstanceUID == sopInstanceUID), "")

    def fileValue(self, fileName, tag):
        group, element = tag.split(",")
        value = self._headers[fileName].get((int(group, 16), int(element, 16)))
        return "" if value is None else str(value.value)

    def nameForPatient(self, patientUID):
        return next(iter(self._distinct("PatientName", PatientID=patientUID)), "")

    def descriptionForSeries(self, seriesUID):
        return self._of_series("SeriesDescription", seriesUID)


def use(folder):
    """A database of the DICOM files in a folder and those below it, as Slicer's."""
    slicer.dicomDatabase = ctkDICOMDatabase(folder)
    return slicer.dicomDatabase
