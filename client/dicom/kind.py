"""What kind of object a file holds, and whether it is one that this hospital lets be used."""

from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from client.dicom.header import identifier, items, words
from client.dicom.policy import ReadPolicy
from client.dicom.rejection import Reason, Refused
from client.dicom.view import shows_chest
from model.conditioning import Metadata

_SECONDARY = {
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}
RADIOGRAPH_KINDS = frozenset(_SECONDARY) | {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
}
"""SOP classes that may hold a chest radiograph."""
_MODALITIES = {"CR", "DX", "RG"}


def is_raw(header: Dataset) -> bool:
    """Whether the picture was never meant to be looked at as it is."""
    kind = identifier(header, "SOPClassUID")
    stated = words(header, "PresentationIntentType")
    return kind == DigitalXRayImageStorageForProcessing or stated == "FOR PROCESSING"


def check_kind(header: Dataset, policy: ReadPolicy) -> None:
    """Refuse whatever is not one chest radiograph of a person, of a kind that is used.

    Raises:
        Refused: with the reason.
    """
    kind = identifier(header, "SOPClassUID")
    if kind not in RADIOGRAPH_KINDS or words(header, "Modality") not in _MODALITIES:
        raise Refused(Reason.WRONG_KIND)
    if kind in _SECONDARY and not policy.secondary_capture:
        raise Refused(Reason.SECONDARY)
    if is_raw(header) and not policy.for_processing:
        raise Refused(Reason.RAW)
    if words(header, "SyntheticData") == "YES" and not policy.synthetic:
        raise Refused(Reason.SYNTHETIC)
    _check_content(header)


def _check_content(header: Dataset) -> None:
    if not _is_human(header):
        raise Refused(Reason.NOT_HUMAN)
    if "YES" in {words(header, "QualityControlImage"), words(header, "CalibrationImage")}:
        raise Refused(Reason.CALIBRATION)
    if words(header, "BurnedInAnnotation") == "YES":
        raise Refused(Reason.BURNED_IN)
    if shows_chest(header) is False:  # a third of real chest headers name no region at all
        raise Refused(Reason.NOT_CHEST)


def _is_human(header: Dataset) -> bool:
    """People's headers leave the species out; veterinary ones must state it."""
    codes = items(header, "PatientSpeciesCodeSequence")[:1]
    stated = {words(header, "PatientSpeciesDescription"), *(words(c, "CodeMeaning") for c in codes)}
    return stated <= {"", "HUMAN", "HOMO SAPIENS"}


def check_wanted(metadata: Metadata, policy: ReadPolicy) -> None:
    """Refuse patients and views, as far as they are known, that this hospital does not want used.

    Raises:
        Refused: with the reason.
    """
    if metadata.age is not None and metadata.age < policy.min_age:
        raise Refused(Reason.TOO_YOUNG)
    if metadata.view is not None and metadata.view not in policy.views:
        raise Refused(Reason.LATERAL if metadata.view == "LATERAL" else Reason.OTHER_VIEW)
