"""Damage that keeps a file well-formed: elements that are missing, contradict each other or lie."""

import struct
import warnings
from collections.abc import Callable
from io import BytesIO

import pydicom.config
from pydicom import DataElement, Dataset, Sequence, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from client.dicom.header import DAMAGED_FILE_ERRORS
from simulation.damage.octets import Chance

_KEYWORDS = """
Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PlanarConfiguration
NumberOfFrames PhotometricInterpretation PixelData PixelPaddingValue PixelPaddingRangeLimit
SmallestImagePixelValue LargestImagePixelValue RescaleSlope RescaleIntercept RescaleType WindowCenter
WindowWidth VOILUTFunction PresentationLUTShape PixelIntensityRelationship PixelIntensityRelationshipSign
PixelSpacing ImagerPixelSpacing PixelAspectRatio LossyImageCompression PatientOrientation ImageLaterality
ViewPosition FieldOfViewRotation FieldOfViewHorizontalFlip ShutterShape ShutterLeftVerticalEdge
ShutterRightVerticalEdge ShutterUpperHorizontalEdge ShutterLowerHorizontalEdge CenterOfCircularShutter
RadiusOfCircularShutter VerticesOfThePolygonalShutter CollimatorShape CollimatorLeftVerticalEdge
CollimatorRightVerticalEdge CollimatorUpperHorizontalEdge CollimatorLowerHorizontalEdge
VerticesOfThePolygonalCollimator
SOPClassUID SOPInstanceUID StudyInstanceUID Modality BodyPartExamined StudyDescription SeriesDescription
ProtocolName Manufacturer BurnedInAnnotation QualityControlImage PatientSpeciesDescription PatientAge
PatientSex PatientBirthDate StudyDate AcquisitionDate PatientName PatientID IssuerOfPatientID
EthnicGroup AccessionNumber ImageType ConversionType
"""
_SEQUENCES = """
ModalityLUTSequence VOILUTSequence ViewCodeSequence ViewModifierCodeSequence AnatomicRegionSequence
PatientSpeciesCodeSequence ContentSequence SharedFunctionalGroupsSequence IconImageSequence
"""
_WHOLE = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 31, 33, 64, 65, 255, 1000, 32767, 32768, 60000, 65535)
_NUMBERS = (
    *(b"", b" ", b"0", b"-1", b"1", b"2", b"1e308", b"-1e308", b"1e-308", b"nan", b"inf", b"-inf"),
    *(
        b"2147483648",
        b"9" * 64,
        b"1,5",
        b"0x10",
        b"two",
        b"1\\2\\3",
        b"0\\0",
        b"\\\\",
        b"1e-300\\1e300",
    ),
    *(b"1\\" * 20_000, "\u0663".encode(), b"1_000", b"1e", b"--1", b"\x00", b"\xff\xfe"),
)
_WORDS = (
    *(b"", b"\0", b"MONOCHROME1", b"MONOCHROME2", b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_RCT"),
    *(
        b"PALETTE COLOR",
        b"YES",
        b"NO",
        b"CR\\DX",
        b"L\\F",
        b"H\\L",
        b"R\\F",
        b"P",
        b"A\\B\\C",
        b"LL",
    ),
    *(
        b"SIGMOID",
        b"LINEAR_EXACT",
        b"ROUND",
        b"RECTANGULAR\\CIRCULAR\\POLYGONAL",
        b"INVERSE",
        b"LOG",
    ),
    *(b"999Y", b"-01Y", b"AAAY", b"012D", b"00000000", b"20240230", b"1993.02.24", b"99999999"),
    *(
        b"\xff\xfe\xfd",
        b"\x1b$B\x1b(J\x1b",
        b"=" * 300,
        b"^" * 300,
        b"X" * 70_000,
        b"\xf0\x9f\xab\x80",
    ),
    *(b"1.2.840.10008.5.1.4.1.1.1", b"1.2.840.10008.5.1.4.1.1.1.1.1", b"1.2." + b"9" * 90),
)
_CHARACTER_SETS = (
    *(
        b"",
        b"ISO_IR 192",
        b"ISO 2022 IR 87\\ISO 2022 IR 149",
        b"\\ISO 2022 IR 58",
        b"GB18030",
        b"GBK",
    ),
    *(b"ISO_IR 166", b"UTF-7", b"zlib_codec", b"base64", b"idna", b"unicode_escape", b"rot13"),
    *(b"\\" * 50, b"\xff", b"ISO_IR 192\\ISO_IR 100", b"ISO 2022 IR 6" * 40),
)


def lie(content: bytes, chance: Chance) -> bytes:
    """Give one to three elements a value that is wrong, or wrongly written."""
    return _edited(content, lambda file: _set_values(file, chance, int(chance.integers(1, 4))))


def leave_out(content: bytes, chance: Chance) -> bytes:
    """Leave out one to three elements."""

    def edit(file: Dataset) -> None:
        for _ in range(chance.integers(1, 4)):
            tags = list(file.keys())
            if tags:
                del file[tags[int(chance.integers(len(tags)))]]

    return _edited(content, edit)


def change_characters(content: bytes, chance: Chance) -> bytes:
    """Claim a character set that the text is not in, or that nobody knows."""

    def edit(file: Dataset) -> None:
        _set_raw(file, "SpecificCharacterSet", _pick(_CHARACTER_SETS, chance))
        for keyword in ("PatientName", "StudyDescription", "BodyPartExamined", "Manufacturer"):
            _set_raw(file, keyword, _pick(_WORDS, chance) + chance.bytes(9) + b"\x1b$)C")

    return _edited(content, edit)


def change_table(content: bytes, chance: Chance) -> bytes:
    """Bring a look-up table whose description, length and entries do not fit."""

    def edit(file: Dataset) -> None:
        item = Dataset()
        descriptor = [int(_WHOLE[chance.integers(len(_WHOLE))]) for _ in range(3)]
        item.add(DataElement(Tag("LUTDescriptor"), "US", descriptor[: int(chance.integers(1, 4))]))
        length = int(chance.choice([0, 1, 2, 255, 256, 4096, 70_000]))
        item.add(DataElement(Tag("LUTData"), "OW", chance.bytes(length)))
        file.pop("VOILUTSequence", None)
        keyword = "ModalityLUTSequence" if chance.random() < 0.5 else "VOILUTSequence"
        setattr(file, keyword, Sequence([item] * int(chance.integers(3))))

    return _edited(content, edit)


def change_sequence(content: bytes, chance: Chance) -> bytes:
    """Put something else where a sequence of codes is expected."""

    def edit(file: Dataset) -> None:
        keyword = _word_of(_SEQUENCES, chance)
        if chance.random() < 0.5:
            _set_raw(file, keyword, chance.bytes(int(chance.integers(40))))
        else:
            item = Dataset()
            _set_values(item, chance, 2)
            setattr(file, keyword, Sequence([item, Dataset()]))

    return _edited(content, edit)


ALL = (lie, lie, lie, lie, leave_out, change_characters, change_table, change_sequence)


def _edited(content: bytes, edit: Callable[[Dataset], None]) -> bytes:
    """The file with an edit, or as it is if it is too broken to be edited."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = dcmread(BytesIO(content))
            edit(file)
            buffer = BytesIO()
            dcmwrite(buffer, file)
        except DAMAGED_FILE_ERRORS:
            return content
    return buffer.getvalue()


def _set_values(file: Dataset, chance: Chance, count: int) -> None:
    for _ in range(count):
        keyword = _word_of(_KEYWORDS, chance)
        _set_raw(file, keyword, _value_for(keyword, chance))


def _value_for(keyword: str, chance: Chance) -> bytes:
    """A value of the element's own kind in three cases of four."""
    kind = dictionary_VR(tag_for_keyword(keyword) or 0) if chance.random() < 0.75 else ""
    if kind.startswith(("US", "SS")):
        count = int(chance.integers(1, 4))
        return b"".join(
            struct.pack("<H", _WHOLE[chance.integers(len(_WHOLE))]) for _ in range(count)
        )
    if kind in {"DS", "IS"}:
        return _pick(_NUMBERS, chance)
    return _pick(_WORDS if kind else _NUMBERS, chance)


def _set_raw(file: Dataset, keyword: str, value: bytes) -> None:
    # The reader gives an element of unknown type the type that belongs to its tag, and so reads the bytes.
    file[keyword] = DataElement(Tag(keyword), "UN", value)


def _pick(choices: tuple[bytes, ...], chance: Chance) -> bytes:
    return choices[int(chance.integers(len(choices)))]


def _word_of(words: str, chance: Chance) -> str:
    return str(chance.choice(words.split()))
