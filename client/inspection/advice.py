"""What each reason, flag and label problem means, and what the data manager can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from client.dicom.outcome import Flag
from client.dicom.rejection import Reason
from client.labels.table import LabelProblem


@dataclass(frozen=True, slots=True)
class Advice:
    """Two plain sentences."""

    meaning: str
    remedy: str


_NOTHING = "Nothing to do."
_WORTH_A_LOOK = (
    "Open a few in a viewer; if they look right there, tell those who make this program."
)

REFUSALS: Mapping[Reason, Advice] = {
    Reason.NOT_DICOM: Advice(
        "The file is not a DICOM file: a note, an index, a thumbnail.",
        "Nothing to do, unless these are exports in another format: then have them exported as DICOM.",
    ),
    Reason.UNREADABLE: Advice(
        "The file, or the folder it is in, cannot be opened, or its header is damaged.",
        "Check the permissions and the disk, and have damaged files exported again.",
    ),
    Reason.OUTSIDE_LINK: Advice(
        "A link leads out of the data folder; it was not followed.",
        "Move the radiographs into the data folder, or mount their folder there.",
    ),
    Reason.WRONG_KIND: Advice(
        "Not a plain radiograph: another modality, a document, a structured report of another kind.",
        _NOTHING,
    ),
    Reason.NOT_HUMAN: Advice("The header states an animal.", _NOTHING),
    Reason.CALIBRATION: Advice("A picture for calibration or quality control.", _NOTHING),
    Reason.NOT_CHEST: Advice(
        "The header names another part of the body.",
        "Nothing to do; if they are chests, correct the body part at the machine.",
    ),
    Reason.LATERAL: Advice(
        "A lateral radiograph, and the profile does not ask for those.",
        "Add LATERAL to reading: views in the profile to use them.",
    ),
    Reason.OTHER_VIEW: Advice(
        "A view that the profile does not ask for.",
        "Add it to reading: views in the profile to use it.",
    ),
    Reason.MIRRORED: Advice(
        "Header and picture do not agree on which side is left.",
        "Have the orientation corrected in the archive.",
    ),
    Reason.RAW: Advice(
        "Raw data of a detector, and the profile does not ask for those.",
        "Export the pictures for presentation, or set reading: for_processing: true.",
    ),
    Reason.SECONDARY: Advice(
        "Captured a second time (scanned, exported), and the profile does not ask for those.",
        "Export the originals, or set reading: secondary_capture: true.",
    ),
    Reason.TOO_YOUNG: Advice("The patient is younger than reading: min_age.", _NOTHING),
    Reason.BURNED_IN: Advice(
        "The header says that a name or other text is part of the picture.",
        "Export them without the text; they are never used as they are.",
    ),
    Reason.SYNTHETIC: Advice(
        "The header says that a program made the picture, and the profile does not ask for those.",
        "Keep generated pictures out of the data folder: a model must not learn from what models draw.",
    ),
    Reason.MULTI_FRAME: Advice("Several pictures in one file, such as a film loop.", _NOTHING),
    Reason.COLOUR: Advice("A picture in colour, so not a plain radiograph.", _NOTHING),
    Reason.TOO_LARGE: Advice(
        "More bytes or pixels than a radiograph has.",
        "Raise reading: max_file_bytes or max_pixels if these are radiographs.",
    ),
    Reason.BAD_GEOMETRY: Advice(
        "The stated size is impossible, or tiny as in a thumbnail.", "Have them exported again."
    ),
    Reason.NO_PIXELS: Advice(
        "The file has a header and no picture.", "Have them exported again, with pixels."
    ),
    Reason.NO_DECODER: Advice(
        "Compressed in a way that this program cannot unpack.",
        "Have the archive export them uncompressed or as JPEG 2000.",
    ),
    Reason.DECODE_FAILED: Advice(
        "The compressed picture is damaged or cut short.", "Have them exported again."
    ),
    Reason.TOO_SLOW: Advice("Reading took longer than its time limit.", _WORTH_A_LOOK),
    Reason.READER_DIED: Advice("The file made the reading process fail.", _WORTH_A_LOOK),
    Reason.BLANK: Advice("The picture has a single brightness.", _NOTHING),
    Reason.LOW_CONTRAST: Advice("Almost nothing can be told apart in the picture.", _WORTH_A_LOOK),
    Reason.DUPLICATE: Advice(
        "The same radiograph, or the same pixels, once more; one of each is used.", _NOTHING
    ),
    Reason.NEAR_DUPLICATE: Advice(
        "A re-processed copy of another radiograph; the first of each is used.", _NOTHING
    ),
    Reason.OPTED_OUT: Advice("The patient is on the list of those who object.", _NOTHING),
    Reason.NOT_FETCHED: Advice(
        "The PACS listed it and did not deliver it.",
        "Type fedcxr hospital ingest again: it asks for them once more.",
    ),
}

FLAGS: Mapping[Flag, Advice] = {
    Flag.LOW_RESOLUTION: Advice(
        "Fewer pixels than the cache asks for, so it was enlarged.",
        "Look whether thumbnails or previews were exported instead of radiographs.",
    ),
    Flag.CLIPPED: Advice(
        "Much of the chest is pure black or pure white.",
        "Look whether the display window in the header fits the picture.",
    ),
    Flag.CROPPED: Advice(
        "Much was cut away at the edges, or little of the square is covered.",
        "Look whether the whole chest is there.",
    ),
    Flag.LOSSY: Advice(
        "Compressed with loss before it came here.", "Use the originals if the archive has them."
    ),
    Flag.NO_VIEW: Advice(
        "The header does not tell the view.", "Look whether they are frontal chests."
    ),
    Flag.NO_BODY_PART: Advice(
        "The header does not say that this is a chest.", "Look for other parts of the body."
    ),
    Flag.NO_PATIENT: Advice(
        "Without a patient id, so all of them count as one patient.",
        "Export them with the id, or with a pseudonym that differs between patients.",
    ),
    Flag.RAW: Advice(
        "Made fit to look at from raw data of a detector.", "Look whether bones are bright."
    ),
    Flag.SUSPECT_ORIENTATION: Advice(
        "The picture does not look like an upright chest.",
        "Look for turned or upside-down pictures, and for what is no chest.",
    ),
}

LABEL_PROBLEMS: Mapping[LabelProblem, Advice] = {
    LabelProblem.UNKNOWN_COLUMN: Advice(
        "A column that could hold a finding, and none that is known.",
        "Name it in the mapping of the labels if it matters.",
    ),
    LabelProblem.MISSING_COLUMN: Advice(
        "A finding that is asked for and that the table cannot tell.",
        "Nothing to do: it counts as unknown.",
    ),
    LabelProblem.DUPLICATE_STUDY: Advice(
        "A row whose identifier an earlier row has; the first counts.", "Remove the wrong row."
    ),
    LabelProblem.NO_STUDY: Advice("A row without identifier, which joins nothing.", "Fill it in."),
    LabelProblem.BAD_VALUE: Advice(
        "A cell whose value has no meaning in the mapping; it counts as unknown.",
        "Correct the cell, or add the value to the mapping.",
    ),
    LabelProblem.DAMAGED_ROW: Advice(
        "A row with too few or too many cells, which is not used.",
        "Look for stray commas and quotation marks.",
    ),
    LabelProblem.UNMAPPED_TERM: Advice(
        "A term that the mapping does not know. The ingest prints the most frequent ones.",
        "Add it to the mapping of the labels.",
    ),
    LabelProblem.CONFLICT: Advice(
        "A finding of which two things are said; it counts as unknown.",
        "Look whether reports and table agree.",
    ),
}
