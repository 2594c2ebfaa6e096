"""Patient and study of a CT as other DICOM objects may repeat them: within the standard, whatever the CT's files hold.

Clinics and anonymisers leave dates of zeros, times with colons, sexes in words and texts that are too long. What the
standard does not allow is written in the way it does allow, else left empty, and that is reported; it never stops a
file from being written.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, Problem
from ..events import Reporter

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

# Patient, Patient Study and General Study Modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), with their value representations.
PATIENT_AND_STUDY: Mapping[str, str] = {
    "PatientName": "PN", "PatientID": "LO", "IssuerOfPatientID": "LO", "PatientBirthDate": "DA",
    "PatientBirthTime": "TM", "PatientSex": "CS", "OtherPatientNames": "PN", "EthnicGroup": "SH",
    "PatientComments": "LT", "PatientIdentityRemoved": "CS", "DeidentificationMethod": "LO", "PatientAge": "AS",
    "PatientSize": "DS", "PatientWeight": "DS", "StudyDate": "DA", "StudyTime": "TM", "StudyID": "SH",
    "StudyDescription": "LO", "AccessionNumber": "SH", "ReferringPhysicianName": "PN",
    "PositionReferenceIndicator": "LO"}
# Those that may have several values.
_SEVERAL = ("OtherPatientNames", "DeidentificationMethod")
_LENGTHS = {"LO": 64, "SH": 16, "LT": 10240, "PN": 64}
# Looked at by itself where the headers are read, or part of the image, without which nothing was read.
_MENDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
           "SpecificCharacterSet")
_OF_IMAGE = (0x0028, 0x5200, 0x7FE0)
_OF_PERSON = (0x0010, 0x0012)  # groups of patient and clinical trial
_OF_BYTES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN", "US", "UL", "UV", "SS", "SL", "SV", "FL", "FD", "AT")
_ENUMERATED = {"PatientSex": ("M", "F", "O"), "PatientIdentityRemoved": ("YES", "NO"),
               "SmokingStatus": ("YES", "NO", "UNKNOWN"), "PregnancyStatus": ("1", "2", "3", "4"),
               "QualityControlSubject": ("YES", "NO")}
# Clinical Trial Subject (C.7.1.3): what it must have, and what may be empty. Of animals are parts of C.7.1.1.
_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID")
_TRIAL_MAY_BE_EMPTY = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_OF_ANIMALS = ("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientSexNeutered",
               "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence",
               "StrainDescription", "StrainNomenclature", "StrainCodeSequence", "StrainAdditionalInformation",
               "StrainStockSequence", "GeneticModificationsSequence", "ResponsiblePerson", "ResponsiblePersonRole",
               "ResponsibleOrganization")
_PARTS_OF_A_NAME = 5  # family, given, middle, prefix, suffix
_LINE_ENDS = str.maketrans("", "", "\r\n\f\t")  # which long texts may have
_SEXES = {"F": "F", "FEMALE": "F", "W": "F", "M": "M", "MALE": "M", "O": "O", "OTHER": "O"}


def tidy_headers(path: Path, headers: Sequence[Dataset], reporter: Reporter) -> None:
    """Puts what the headers say of patient and study within the standard; what was changed is one warning."""
    changes: dict[str, str] = {}
    for header in headers:
        changes |= {name: change for name, change in _without_unfit(header) if name not in changes}
        for name, representation in PATIENT_AND_STUDY.items():
            if name in header:
                change = _tidy(header, name, representation)
                if change:
                    changes.setdefault(name, change)
    if changes:
        reporter.warning(Problem(Code.DICOM_TAG_MISSING, str(path), "values that DICOM allows",
                                 "; ".join(changes.values()), "the DICOM files written have it so"))


def uid_of(header: Dataset, name: str) -> str:
    """A UID, empty where there is none or something that is no UID."""
    try:
        text = header[name].value
    except Exception:  # whatever pydicom's converters raise
        return ""
    return text if isinstance(text, str) and re.fullmatch(r"[0-9.]{1,64}", text) else ""


def put(header: Dataset, name: str, value: object) -> None:
    """Sets an attribute in its own value representation, whatever the file has there."""
    header.pop(name, None)
    setattr(header, name, value)


def _without_unfit(header: Dataset) -> Iterator[tuple[str, str]]:
    """Takes away what no image needs and the standard does not allow, and private elements: highdicom copies all that a
    CT says of patient and study. Gives names and what was done, of those that say something of a person."""
    from pydicom.datadict import keyword_for_tag

    for tag in list(header.keys()):
        name = keyword_for_tag(tag)
        mended = name in PATIENT_AND_STUDY or name in _MENDED
        if not tag.is_private and (tag.group in _OF_IMAGE or mended or _is_fit(header, tag)):
            continue
        header.pop(tag)
        if tag.group in _OF_PERSON and name:
            yield name, f"{name} left out"
    # Modules that are optional, but not in parts.
    if not all(header.get(name) for name in _TRIAL):
        names = [keyword_for_tag(tag) for tag in header.keys()]  # noqa: SIM118 - a data set is no mapping
        yield from _without(header, [name for name in names if name.startswith("ClinicalTrial")])
    yield from _without(header, _OF_ANIMALS)
    for name in _TRIAL_MAY_BE_EMPTY:
        if _TRIAL[0] in header and name not in header:
            put(header, name, None)
    # All texts are decoded by now, and are written in UTF-8, also where the file names a character set that is none.
    put(header, "SpecificCharacterSet", "ISO_IR 192")


def _without(header: Dataset, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Takes these attributes away; those that said something are given with what was done."""
    for name in list(names):
        if name in header and header.pop(name).value:
            yield name, f"{name} left out"


def _is_fit(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether an element, and all below it, is as the standard has it."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    try:
        element = dataset[tag]
        if element.VR not in dictionary_VR(tag).split(" or "):
            return False
        if element.VR == "SQ":
            return all(_is_fit(item, below) for item in element.value for below in list(item.keys()))
        values = element.value if isinstance(element.value, (MultiValue, list, tuple)) else [element.value]
        for value in values:
            if element.VR not in _OF_BYTES and value is not None:
                validate_value(element.VR, str(value), RAISE)
                if not str(value).translate(_LINE_ENDS).isprintable():
                    return False
            if value and str(value) not in _ENUMERATED.get(element.keyword, (str(value),)):
                return False
    except Exception:  # whatever pydicom's converters raise for bytes that are no such value
        return False
    return True


def _tidy(header: Dataset, name: str, representation: str) -> str:
    """Replaces a value that the standard does not allow; says how, or is empty where nothing was changed."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_description, dictionary_VM
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    try:
        value = header[name].value
        was_read = representation == header[name].VR
    except Exception:  # whatever pydicom's converters raise for bytes that are no such value
        value, was_read = "", False
    several = isinstance(value, (MultiValue, list, tuple)) and dictionary_VM(name) == "1" and name not in _SEVERAL
    texts = [str(item) for item in value] if isinstance(value, (MultiValue, list, tuple)) else [str(value or "")]
    allowed = was_read and not several
    for text in texts:
        allowed = allowed and _is_allowed(name, representation, text)
        try:
            validate_value(representation, text, RAISE)
        except (ValueError, TypeError):
            allowed = False
    if allowed:
        return ""
    tidied = _tidied(name, representation, texts[0] if texts else "")
    try:
        validate_value(representation, tidied, RAISE)
    except (ValueError, TypeError):
        tidied = ""
    header.pop(name, None)
    header.add_new(name, representation, tidied or None)
    # A patient's name is nobody's business on a screen.
    shown = ""
    if texts[0] and representation != "PN" and name != "PatientID":
        shown = f" '{texts[0]:.40}'"
    outcome = "left empty"
    if tidied:
        outcome = f"written as '{tidied:.40}'" if shown else "changed to what is allowed"
    return f"{dictionary_description(name)}{shown} {outcome}"


def _is_allowed(name: str, representation: str, text: str) -> bool:
    """What pydicom does not look at: that dates exist, that a sex is one of three, that weights are numbers."""
    if not text:
        return True
    if not text.translate(_LINE_ENDS).isprintable():
        return False
    if name in _ENUMERATED:
        return text in _ENUMERATED[name]
    if representation == "PN":
        return all(group.count("^") < _PARTS_OF_A_NAME for group in text.split("="))
    if representation == "DA":
        return _is_date(text)
    if representation == "TM":
        return bool(re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", text.strip()))
    if representation == "DS":
        return _is_number(text)
    return True


def _tidied(name: str, representation: str, text: str) -> str:
    """The value in the form that the standard allows; empty where it has none."""
    text = "".join(letter for letter in text if letter.isprintable()).strip()
    if name == "PatientSex":
        return _SEXES.get(text.upper(), "")
    if representation == "DA":
        digits = re.sub(r"[-./]", "", text)
        return digits if _is_date(digits) else ""
    if representation == "TM":
        digits = text.replace(":", "")
        return digits if _is_allowed(name, "TM", digits) else ""
    if representation == "DS":
        number = text.split(" ")[0]
        return number if _is_number(number) and len(number) <= 16 else ""
    if representation == "CS":
        word = re.sub(r"[^A-Z0-9 _]", "", text.upper())[:16]
        return word if _is_allowed(name, "CS", word) else ""
    if representation == "PN":
        groups = [group[:_LENGTHS["PN"]] for group in text.split("=")[:3]]
        return "=".join("^".join(group.split("^")[:_PARTS_OF_A_NAME]) for group in groups)
    return text.replace("\\", " ")[:_LENGTHS.get(representation, 16)]


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{8}", text):
        return False
    try:
        datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    return abs(number) < 1e9
