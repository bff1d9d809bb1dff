"""Every public set's table, in its published columns, comes out in the words of the model."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from client.labels.presets import load_mapping
from client.labels.table import LabelProblem, Labels, read_labels
from model.conditioning import FINDINGS

FOURTEEN = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,"
    "Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
NIH_WORDS = (
    "emphysema",
    "fibrosis",
    "hernia",
    "infiltration",
    "mass",
    "nodule",
    "pleural_thickening",
)


def read(
    folder: Path,
    preset: str,
    text: str,
    *,
    name: str = "labels.csv",
    findings: tuple[str, ...] = FINDINGS,
) -> Labels:
    path = folder / name
    path.write_text(text)
    return read_labels(path, load_mapping(preset, folder), findings)


def only(states: Mapping[str, str], state: str) -> set[str]:
    return {finding for finding, each in states.items() if each == state}


CHEXPERT = f"""\
Path,Sex,Age,Frontal/Lateral,AP/PA,{FOURTEEN}
CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0
CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Male,50,Frontal,PA,,,-1.0,1.0,0.0,,-1,,,,1,,1.0,
"""


def test_chexpert_is_read_with_the_folders_that_make_its_file_names_unique(tmp_path: Path) -> None:
    labels = read(tmp_path, "chexpert", CHEXPERT)
    assert labels.key == "file"
    assert set(labels.states) == {
        "patient00001/study1/view1_frontal",
        "patient00002/study1/view1_frontal",
    }
    assert labels.problems == {}


def test_chexperts_blank_is_not_mentioned_and_minus_one_uncertain(tmp_path: Path) -> None:
    states = read(tmp_path, "chexpert", CHEXPERT).of("patient00002/study1/view1_frontal")
    assert only(states, "uncertain") == {"cardiomegaly", "consolidation"}
    assert only(states, "present") == {"lung_opacity", "pleural_effusion", "fracture"}
    assert only(states, "absent") == {"lung_lesion", "no_finding"}
    assert only(states, "not_mentioned") >= {"edema", "support_devices", "pneumothorax"}
    assert len(states) == 14


def test_chexperts_no_finding_denies_what_is_not_mentioned_but_no_fracture_and_no_device(
    tmp_path: Path,
) -> None:
    states = read(tmp_path, "chexpert", CHEXPERT).of("patient00001/study1/view1_frontal")
    assert only(states, "present") == {"no_finding", "support_devices"}
    assert only(states, "not_mentioned") == {"fracture"}
    assert len(only(states, "absent")) == 11


def test_chexperts_no_finding_does_not_overrule_what_is_said(tmp_path: Path) -> None:
    text = "Path,No Finding,Edema,Pneumonia,Fracture\na/b/c.jpg,1,-1,oops,\nd/e/f.jpg,1,,1,\n"
    labels = read(tmp_path, "chexpert", text)
    assert labels.of("a/b/c")["edema"] == "uncertain"
    assert "pneumonia" not in labels.of("a/b/c")
    assert "no_finding" not in labels.of("d/e/f")
    assert labels.problems[LabelProblem.CONFLICT] == 1


def test_what_chexpert_has_no_word_for_is_told_by_what_comprises_it_or_not_at_all(
    tmp_path: Path,
) -> None:
    asked = ("nodule", "infiltration", "hernia", "lung_lesion")
    labels = read(tmp_path, "chexpert", CHEXPERT, findings=asked)
    assert labels.of("patient00002/study1/view1_frontal") == {
        "lung_lesion": "absent",
        "nodule": "absent",
    }
    assert labels.problems == {LabelProblem.MISSING_COLUMN: 1}


def test_chexpert_plus_brings_its_labels_as_json_lines(tmp_path: Path) -> None:
    names = FOURTEEN.split(",")
    rows = (
        {"path_to_image": "train/patient1/study1/view1_frontal.jpg"}
        | dict.fromkeys(names)
        | {"Edema": 1.0, "Pneumonia": -1.0, "Pneumothorax": 0.0},
        {"path_to_image": "train/patient1/study2/view1_frontal.jpg"}
        | dict.fromkeys(names)
        | {"No Finding": 1.0},
    )
    text = "\n".join(json.dumps(row) for row in rows)
    labels = read(tmp_path, "chexpert", text, name="impression_fixed.json")
    states = labels.of("patient1/study1/view1_frontal")
    assert (states["edema"], states["pneumonia"]) == ("present", "uncertain")
    assert (states["pneumothorax"], states["fracture"]) == ("absent", "not_mentioned")
    assert labels.of("patient1/study2/view1_frontal")["no_finding"] == "present"


def test_chexpert_plus_reports_are_read_where_there_are_no_labels(tmp_path: Path) -> None:
    titles = (
        "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,"
        "section_history,section_findings,section_impression,age,sex,race,ethnicity"
    )
    row = (
        "train/patient1/study1/view1_frontal.jpg,train/patient1/study1/view1_frontal.dcm,Frontal,AP,"
        'patient1,1,"everything, again: pneumonia",pneumonia,No effusion.,"1. Mild edema.\n2. Small '
        'pneumothorax, unchanged.",60,Male,White,Non-Hispanic'
    )
    states = read(tmp_path, "chexpert", f"{titles}\n{row}\n").of("patient1/study1/view1_frontal")
    assert only(states, "present") == {"edema", "pneumothorax"}
    assert only(states, "absent") == {"pleural_effusion", "no_finding"}
    assert states["pneumonia"] == "not_mentioned"


def test_mimic_is_read_per_study(tmp_path: Path) -> None:
    titles = sorted(FOURTEEN.split(","))
    text = f"subject_id,study_id,{','.join(titles)}\n10000032,50414267,,,,,,,,,1.0,,,,,\n"
    text += "10000032,53189527,-1.0,0.0,,1.0,,,,,,,,,,\n"
    labels = read(tmp_path, "mimic", text)
    assert labels.key == "study"
    assert labels.of("50414267")["no_finding"] == "present"
    states = labels.of("53189527")
    assert [states[name] for name in ("atelectasis", "cardiomegaly", "consolidation", "edema")] == [
        "uncertain",
        "absent",
        "not_mentioned",
        "present",
    ]
    assert labels.problems == {}


def test_brax_is_read_with_all_its_columns_known(tmp_path: Path) -> None:
    text = (
        "DicomPath,PngPath,PatientID,PatientSex,PatientAge,AccessionNumber,StudyDate,"
        f"{FOURTEEN},ViewPosition,Rows,Columns,Manufacturer\n"
        "Anonymized_DICOMs/id_1/Study_2/Series_3/image-4.dcm,images/id_1/Study_2/Series_3/image-4.png,"
        "id_1,F,85 or more,Study_2,20080101,,,1.0,,,,,,,,-1,,,,PA,2000,2000,1.0\n"
    )
    labels = read(tmp_path, "brax", text)
    assert labels.problems == {}
    states = labels.of("Series_3/image-4")
    assert (states["cardiomegaly"], states["pleural_effusion"]) == ("present", "uncertain")
    assert states["no_finding"] == "absent"


NIH_ROWS = """\
00000001_000.png,Cardiomegaly|Emphysema,0,1,57,M,PA
00000002_000.png,No Finding,0,2,80,M,PA
00000003_000.png,Infiltration|Mass|Pleural_Thickening,0,3,74,F,AP
00000004_000.png,No Finding|Effusion,0,4,74,F,AP
00000005_000.png,Enlarged Aorta,0,5,74,F,AP
00000006_000.png,,0,6,74,F,AP
"""


@pytest.mark.parametrize(
    "titles",
    [
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position",
        (
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
        ),
    ],
)
def test_nih_lists_are_complete_for_their_words_and_silent_on_others(
    tmp_path: Path, titles: str
) -> None:
    rows = NIH_ROWS if titles.endswith("View Position") else NIH_ROWS.replace("\n", ",1,2,3,4,\n")
    labels = read(tmp_path, "nih", f"{titles}\n{rows}", findings=(*FINDINGS, *NIH_WORDS))
    first = labels.of("00000001_000")
    assert only(first, "present") == {"cardiomegaly", "emphysema"}
    assert set(first) & {"fracture", "support_devices", "enlarged_cardiomediastinum"} == set()
    assert set(first) & {"lung_opacity", "pleural_other"} == set()  # other forms may be there
    assert only(first, "absent") >= {"no_finding", "lung_lesion", "pleural_effusion", "hernia"}
    healthy = labels.of("00000002_000")
    assert only(healthy, "present") == {"no_finding"}
    assert set(healthy) & {"fracture", "support_devices", "lung_opacity"} == set()
    third = labels.of("00000003_000")
    assert only(third, "present") == {
        "infiltration",
        "lung_opacity",
        "lung_lesion",
        "mass",
        "pleural_other",
        "pleural_thickening",
    }
    assert third["nodule"] == "absent"


def test_nih_contradictions_unknown_words_and_gaps_are_counted(tmp_path: Path) -> None:
    titles = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position"
    )
    labels = read(tmp_path, "nih", f"{titles}\n{NIH_ROWS}")
    assert "no_finding" not in labels.of("00000004_000")
    assert labels.of("00000004_000")["pleural_effusion"] == "present"
    assert labels.of("00000005_000") == {}
    assert labels.of("00000006_000") == {}
    assert labels.problems == {
        LabelProblem.CONFLICT: 1,
        LabelProblem.UNMAPPED_TERM: 1,
        LabelProblem.MISSING_COLUMN: 3,
    }


def padchest(folder: Path, *cells: str) -> Labels:
    titles = (
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
        "ViewPosition_DICOM,Projection,MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,"
        "ReportID,Report,MethodLabel,Labels,Localizations"
    )
    rows = (
        f'{n},{n}_a.png,0,20140915,S{n},P{n},1930,F,,PA,M,No,CR,X,R,sin cambios,RNN_model,"{cell}",[]'
        for n, cell in enumerate(cells)
    )
    text = "\n".join([titles, *rows])
    return read(folder, "padchest", text, findings=(*FINDINGS, *NIH_WORDS))


def test_padchest_terms_are_compared_whole(tmp_path: Path) -> None:
    labels = padchest(
        tmp_path,
        "['mediastinal mass']",
        "['subcutaneous emphysema', ' soft tissue mass']",
        "['mass']",
        "['pericardial effusion']",
    )
    assert labels.of("0_a")["lung_lesion"] == "absent"
    assert labels.of("0_a")["enlarged_cardiomediastinum"] == "present"
    assert (labels.of("1_a")["emphysema"], labels.of("1_a")["mass"]) == ("absent", "absent")
    assert (labels.of("2_a")["lung_lesion"], labels.of("2_a")["mass"]) == ("present", "present")
    assert labels.of("3_a")["pleural_effusion"] == "absent"
    assert labels.problems == {}


def test_padchests_unchanged_leaves_open_and_exclude_voids(tmp_path: Path) -> None:
    labels = padchest(
        tmp_path,
        "['unchanged']",
        "['unchanged', 'cardiomegaly']",
        "['exclude', 'cardiomegaly']",
        "['suboptimal study', 'pneumonia']",
        "",
        "['']",
        "nan",
    )
    assert labels.of("0_a") == {}
    assert labels.of("1_a") == {"cardiomegaly": "present", "no_finding": "absent"}
    assert labels.of("2_a") == {}
    assert labels.of("3_a") == {"pneumonia": "present", "no_finding": "absent"}
    assert labels.of("4_a") == labels.of("5_a") == labels.of("6_a") == {}
    assert labels.problems == {}


def test_padchests_own_words_become_the_models(tmp_path: Path) -> None:
    labels = padchest(
        tmp_path,
        "['normal']",
        "['hydropneumothorax', 'NSG tube', 'callus rib fracture']",
        "['costophrenic angle blunting', 'laminar atelectasis', 'COPD signs']",
        "['alveolar pattern']",
    )
    assert only(labels.of("0_a"), "present") == {"no_finding"}
    assert len(only(labels.of("0_a"), "absent")) == 13 + len(NIH_WORDS)
    assert only(labels.of("1_a"), "present") == {
        "pneumothorax",
        "pleural_effusion",
        "support_devices",
        "fracture",
    }
    assert only(labels.of("2_a"), "uncertain") == {"pleural_effusion", "emphysema"}
    assert labels.of("2_a")["atelectasis"] == "present"
    assert "consolidation" not in labels.of("3_a")
    assert labels.of("3_a")["lung_opacity"] == "present"
    assert labels.problems == {}


VINDR_BOXES = """\
image_id,rad_id,class_name,x_min,y_min,x_max,y_max
a1,R1,Cardiomegaly,1,2,3,4
a1,R1,Cardiomegaly,5,6,7,8
a1,R2,No finding,,,,
a1,R3,No finding,,,,
b2,R8,Pleural effusion,1,2,3,4
b2,R9,Pleural effusion,1,2,3,4
b2,R10,Pleural effusion,1,2,3,4
b2,R10,Nodule/Mass,1,2,3,4
b2,R9,Lung cavity,1,2,3,4
c3,R8,No finding,,,,
c3,R9,No finding,,,,
c3,R10,No finding,,,,
"""


def test_vindrs_boxes_are_votes_of_three(tmp_path: Path) -> None:
    labels = read(tmp_path, "vindr", VINDR_BOXES, findings=(*FINDINGS, "mass"))
    outvoted = labels.of("a1")
    assert outvoted["cardiomegaly"] == "uncertain"  # one radiologist drew two boxes
    assert outvoted["no_finding"] == "present"
    seen = labels.of("b2")
    assert seen["pleural_effusion"] == "present"
    assert seen["lung_lesion"] == "present"  # said in different words by two
    assert "mass" not in seen
    assert seen["cardiomegaly"] == "absent"
    assert set(seen) & {"support_devices", "fracture", "pneumonia", "lung_opacity"} == set()
    assert labels.of("c3")["lung_opacity"] == "absent"
    assert "pneumonia" not in labels.of("c3")  # no box can say it
    assert labels.problems == {LabelProblem.MISSING_COLUMN: 5}


VINDR_TITLES = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,"
    "Emphysema,Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,"
    "Pleural effusion,Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,"
    "Lung tumor,Pneumonia,Tuberculosis,Other diseases,No finding"
)


def vindr_row(*words: str) -> str:
    return ",".join(str(int(title in words)) for title in VINDR_TITLES.split(","))


def test_vindrs_columns_are_votes_as_well(tmp_path: Path) -> None:
    rows = (
        f"a1,R1,{vindr_row('Pneumonia', 'Rib fracture')}",
        f"a1,R2,{vindr_row('Pneumonia', 'Lung Opacity')}",
        f"a1,R3,{vindr_row('No finding')}",
    )
    text = "\n".join([f"image_id,rad_id,{VINDR_TITLES}", *rows])
    labels = read(tmp_path, "vindr", text)
    states = labels.of("a1")
    assert states["pneumonia"] == "present"
    assert states["fracture"] == states["lung_opacity"] == states["no_finding"] == "uncertain"
    assert states["edema"] == states["pneumothorax"] == "absent"
    assert labels.problems == {LabelProblem.MISSING_COLUMN: 2}


def test_vindrs_agreed_test_labels_stand_by_themselves(tmp_path: Path) -> None:
    titles = VINDR_TITLES.replace("Other diseases", "Other disease")
    text = f"image_id,{titles}\na1,{vindr_row('Nodule/Mass', 'Rib fracture')}\n"
    labels = read(tmp_path, "vindr", text)
    assert only(labels.of("a1"), "present") == {"lung_lesion", "fracture"}
    assert labels.problems == {LabelProblem.MISSING_COLUMN: 2}


def test_rexgradients_findings_and_impression_are_read_and_not_its_indication(
    tmp_path: Path,
) -> None:
    text = (
        "id,StudyInstanceUid,AccessionNumber,PatientID,PatientSex,PatientAge,Indication,Comparison,"
        "Findings,Impression\n"
        'pGRDN1_aGRDN2_s1.2.3,1.2.3,GRDN2,GRDN1,F,060Y,Evaluate pneumothorax.,None.,"The heart is '
        'enlarged. No effusion.",Possible pneumonia.\n'
    )
    states = read(tmp_path, "rexgradient", text).of("pGRDN1_aGRDN2_s1.2.3")
    assert only(states, "present") == {"cardiomegaly"}
    assert only(states, "absent") == {"pleural_effusion", "no_finding"}
    assert only(states, "uncertain") == {"pneumonia"}
    assert states["pneumothorax"] == "not_mentioned"


def test_rexgradient_takes_a_table_of_ones_own(tmp_path: Path) -> None:
    states = read(tmp_path, "rexgradient", "id,Edema\ns1,-1\n").of("s1")
    assert states == {"edema": "uncertain"}


def test_the_projects_own_table_makes_nothing_of_no_finding(tmp_path: Path) -> None:
    text = "study_instance_uid,no_finding,edema\n1.2,1,\n"
    assert read(tmp_path, "fedcxr", text).of("1.2") == {
        "no_finding": "present",
        "edema": "not_mentioned",
    }
