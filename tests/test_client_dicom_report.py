"""A structured report's tree becomes statements, and these become findings; nothing else leaves it."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ChestCADSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from client.dicom.rejection import Reason, Refused
from client.dicom.report import MAX_CHARACTERS, MAX_DEPTH, MAX_ITEMS, report_of
from client.labels.presets import load_report_terms
from client.labels.report_text import ReportRules
from client.labels.structured_report import states_of_report
from model.conditioning import FINDINGS

Code = tuple[str, str, str]
FINDING: Code = ("121071", "DCM", "Finding")
HISTORY: Code = ("121060", "DCM", "History")
HISTORY_LOINC: Code = ("11329-0", "LN", "History")
FINDINGS_HEADING: Code = ("121070", "DCM", "Findings")
IMPRESSION: Code = ("121073", "DCM", "Impression")
OBSERVER: Code = ("121008", "DCM", "Person Observer Name")
PRESENCE: Code = ("705057003", "SCT", "Presence")


def coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def node(
    kind: str, name: Code, *children: Dataset, relation: str = "CONTAINS", **values: object
) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    item.ConceptNameCodeSequence = [coded(name)]
    if kind == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for keyword, value in values.items():
        setattr(item, keyword, value)
    if children:
        item.ContentSequence = list(children)
    return item


def text(name: Code, value: str, *children: Dataset, relation: str = "CONTAINS") -> Dataset:
    return node("TEXT", name, *children, relation=relation, TextValue=value)


def code(name: Code, value: Code, *children: Dataset, relation: str = "CONTAINS") -> Dataset:
    return node("CODE", name, *children, relation=relation, ConceptCodeSequence=[coded(value)])


def heading(name: Code, *children: Dataset) -> Dataset:
    return node("CONTAINER", name, *children)


def written(*content: Dataset, kind: str = BasicTextSRStorage, **changes: object) -> Dataset:
    """A report as a PACS would send it: written to a file and read again."""
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = UID(kind), generate_uid()
    report.StudyInstanceUID, report.SeriesInstanceUID = "1.2.3", generate_uid()
    report.Modality, report.SeriesNumber, report.InstanceNumber = "SR", 1, 1
    report.PatientName, report.PatientID, report.IssuerOfPatientID = "Doe^Jane", "P7", "HOSP"
    report.PatientBirthDate, report.PatientSex = "19500101", "F"
    report.AccessionNumber, report.StudyID = "A5", "1"
    report.StudyDate = report.ContentDate = "20240101"
    report.StudyTime = report.ContentTime = "120000"
    report.ReferringPhysicianName, report.Manufacturer = "", "Maker"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
    report.ConceptNameCodeSequence = [coded(("18748-4", "LN", "Diagnostic Imaging Report"))]
    report.ContentSequence = list(content)
    for keyword, value in changes.items():
        setattr(report, keyword, value)
    report.file_meta = FileMetaDataset()
    report.file_meta.MediaStorageSOPClassUID = UID(kind)
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    dcmwrite(file, report, enforce_file_format=True)
    return dcmread(BytesIO(file.getvalue()))


REPORT = (
    code(
        ("121049", "DCM", "Language of Content Item and Descendants"),
        ("en", "RFC5646", "English"),
        relation="HAS CONCEPT MOD",
    ),
    node("PNAME", OBSERVER, relation="HAS OBS CONTEXT", PersonName="Roe^Rita"),
    heading(HISTORY, text(HISTORY, "Pneumonia last year.")),
    heading(
        FINDINGS_HEADING,
        text(FINDING, "The heart is enlarged. No pneumothorax."),
        code(FINDING, ("46621007", "SCT", "Atelectasis")),
    ),
    heading(IMPRESSION, text(IMPRESSION, "Possible small left pleural effusion.")),
)


def states(header: Dataset) -> Mapping[str, str]:
    rules = ReportRules(load_report_terms("report_terms"))
    told = states_of_report(report_of(header), rules, FINDINGS)
    return {name: state for name, state in told.items() if state != "not_mentioned"}


@pytest.mark.parametrize("kind", [BasicTextSRStorage, EnhancedSRStorage, ComprehensiveSRStorage])
def test_statements_are_read_in_order_without_history_and_without_people(kind: str) -> None:
    report = report_of(written(*REPORT, kind=kind))
    assert report.statements == (
        "Finding: The heart is enlarged. No pneumothorax.",
        "Finding: Atelectasis",
        "Impression: Possible small left pleural effusion.",
    )
    assert report.identity.study_uid == "1.2.3"
    assert (report.identity.accession, report.identity.patient_id) == ("A5", "P7")


def test_statements_become_findings() -> None:
    assert states(written(*REPORT)) == {
        "cardiomegaly": "present",
        "pneumothorax": "absent",
        "atelectasis": "present",
        "pleural_effusion": "uncertain",
        "no_finding": "absent",
    }


def test_a_report_shows_nothing_of_itself() -> None:
    shown = repr(report_of(written(*REPORT)))
    assert not any(word in shown for word in ("heart", "P7", "A5", "1.2.3", "Doe"))


@pytest.mark.parametrize("relation", ["HAS CONCEPT MOD", "HAS PROPERTIES"])
@pytest.mark.parametrize(
    ("presence", "state"),
    [
        (("272519000", "SCT", "Absent"), "absent"),
        (("52101004", "SCT", "Present"), "present"),
        (("373068000", "SCT", "Undetermined"), "uncertain"),
    ],
)
def test_what_modifies_a_coded_finding_belongs_to_it(
    relation: str, presence: Code, state: str
) -> None:
    side = code(
        ("363698007", "SCT", "Finding Site"), ("44029006", "SCT", "Left lung"), relation=relation
    )
    finding = code(
        FINDING,
        ("36118008", "SCT", "Pneumothorax"),
        side,
        code(PRESENCE, presence, relation=relation),
    )
    assert states(written(finding, kind=ComprehensiveSRStorage))["pneumothorax"] == state


def test_a_finding_may_be_the_name_and_its_presence_the_value() -> None:
    pneumothorax, edema = (
        ("36118008", "SCT", "Pneumothorax"),
        ("19242006", "SCT", "Pulmonary edema"),
    )
    content = (
        code(pneumothorax, ("272519000", "SCT", "Absent")),
        code(edema, ("373067005", "SCT", "No")),
        code(("60046008", "SCT", "Pleural effusion"), ("52101004", "SCT", "Present")),
    )
    assert states(written(*content)) == {
        "pneumothorax": "absent",
        "edema": "absent",
        "pleural_effusion": "present",
        "no_finding": "absent",
    }


@pytest.mark.parametrize(
    "name",
    [
        HISTORY_LOINC,
        ("55115-0", "LN", "Request"),
        ("121068", "DCM", "Previous Findings"),
        ("18783-1", "LN", "Recommendations"),
        ("18785-6", "LN", "Indications for Procedure"),
        ("H1", "99LOCAL", "Clinical history"),
    ],
)
def test_what_is_not_said_of_this_picture_is_not_read(name: Code) -> None:
    assert states(written(text(name, "Pneumothorax."))) == {}
    if name[1] != "99LOCAL":
        assert report_of(written(heading(name, text(FINDING, "Pneumothorax.")))).statements == ()


def test_what_a_statement_is_inferred_from_is_read_and_what_it_refers_to_is_not() -> None:
    content = text(
        IMPRESSION,
        "Heart failure.",
        text(FINDING, "Effusion.", relation="INFERRED FROM"),
        text(FINDING, "Pneumothorax.", relation="SELECTED FROM"),
        text(FINDING, "Fracture.", relation="HAS OBS CONTEXT"),
    )
    assert report_of(written(content)).statements == (
        "Impression: Heart failure.",
        "Finding: Effusion.",
    )


def test_a_machines_findings_count_unless_it_gave_them_up_itself() -> None:
    intent: Code = ("111056", "DCM", "Rendering Intent")
    shown: Code = ("111150", "DCM", "Presentation Required")
    hidden: Code = ("111152", "DCM", "Not for Presentation")
    name: Code = ("111059", "DCM", "Single Image Finding")
    content = (
        code(
            ("111017", "DCM", "CAD Processing and Findings Summary"),
            ("111242", "DCM", "All succeeded"),
            code(
                name,
                ("27925004", "SCT", "Nodule"),
                code(intent, shown, relation="HAS CONCEPT MOD"),
                relation="INFERRED FROM",
            ),
            code(
                name,
                ("36118008", "SCT", "Pneumothorax"),
                code(intent, hidden, relation="HAS CONCEPT MOD"),
                relation="INFERRED FROM",
            ),
        ),
    )
    report = written(*content, kind=ChestCADSRStorage)
    assert states(report) == {"lung_lesion": "present", "no_finding": "absent"}


@pytest.mark.parametrize(
    "flag", [{"CompletionFlag": "PARTIAL"}, {"PreliminaryFlag": "PRELIMINARY"}]
)
def test_a_report_that_is_not_finished_says_nothing(flag: dict[str, str]) -> None:
    report = report_of(written(*REPORT, **flag))
    assert report.statements == ()
    assert states_of_report(report, ReportRules(load_report_terms("report_terms")), FINDINGS) == {}


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        report_of(written(*REPORT, kind=CTImageStorage))
    assert refusal.value.reason is Reason.WRONG_KIND


def deep(levels: int) -> Dataset:
    inner = text(FINDING, "Effusion.")
    for _ in range(levels - 1):
        inner = heading(FINDINGS_HEADING, inner)
    return inner


def test_a_tree_as_deep_as_people_make_them_is_read() -> None:
    assert report_of(written(deep(MAX_DEPTH))).statements == ("Finding: Effusion.",)


@pytest.mark.parametrize(
    "content",
    [
        [deep(MAX_DEPTH + 1)],
        [text(FINDING, "Effusion.")] * (MAX_ITEMS + 1),
        [text(FINDING, "x" * (MAX_CHARACTERS // 2))] * 2,
        [heading(FINDINGS_HEADING, *[node("NUM", FINDING, relation="HAS PROPERTIES")] * MAX_ITEMS)],
    ],
    ids=["deep", "many", "long", "wide"],
)
def test_a_tree_without_bearable_end_is_refused(content: list[Dataset]) -> None:
    header = Dataset()
    header.SOPClassUID, header.ContentSequence = BasicTextSRStorage, content
    with pytest.raises(Refused) as refusal:
        report_of(header)
    assert refusal.value.reason is Reason.TOO_LARGE


def test_a_damaged_tree_gives_what_can_be_read(tmp_path: Path) -> None:
    header = written(*REPORT)
    del header.ContentSequence[3].ContentSequence[0].ConceptNameCodeSequence
    del header.ContentSequence[3].ContentSequence[1].ConceptCodeSequence
    del header.ContentSequence[4].RelationshipType
    path = tmp_path / "report.dcm"
    dcmwrite(path, header)
    assert report_of(dcmread(path)).statements == ("The heart is enlarged. No pneumothorax.",)


def test_a_report_without_content_makes_no_statements() -> None:
    header = Dataset()
    header.SOPClassUID = BasicTextSRStorage
    assert report_of(header).statements == ()
