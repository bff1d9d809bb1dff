"""Reports are read by rule: what is said, denied, doubted, asked, and not mentioned."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.labels.presets import load_report_terms
from client.labels.report_terms import ReportTerms, phrase_words
from client.labels.report_text import MAX_CHARACTERS, ReportRules
from federation.strict_yaml import ConfigError, load_config
from model.conditioning import FINDING_STATES, FINDINGS

RULES = ReportRules(load_report_terms("report_terms"))
SHORT = {
    "ate": "atelectasis",
    "car": "cardiomegaly",
    "con": "consolidation",
    "ede": "edema",
    "ecm": "enlarged_cardiomediastinum",
    "fra": "fracture",
    "les": "lung_lesion",
    "opa": "lung_opacity",
    "eff": "pleural_effusion",
    "plo": "pleural_other",
    "pna": "pneumonia",
    "ptx": "pneumothorax",
    "dev": "support_devices",
    "nof": "no_finding",
}
STATES = {"+": "present", "-": "absent", "?": "uncertain"}

# Sentence -> findings with + present, - absent, ? uncertain; what is left out is not mentioned. `nof` is
# written where a phrase states it; that a positive finding makes it absent goes without saying.
SENTENCES = (
    ("There is a large left pleural effusion.", "eff+"),
    ("No pneumothorax.", "ptx-"),
    ("No focal consolidation, pleural effusion, or pneumothorax.", "con- eff- ptx-"),
    ("No evidence of pneumonia.", "pna-"),
    (
        "There is no evidence of focal consolidation, effusion, pneumothorax or edema.",
        "con- eff- ptx- ede-",
    ),
    ("The lungs are clear.", "con- opa-"),
    ("The lungs are clear of focal consolidation or effusion.", "con- opa- eff-"),
    ("Lungs are free of infiltrates.", "opa-"),
    ("Heart size is normal.", "car-"),
    ("The heart is not enlarged.", "car-"),
    ("The heart is mildly enlarged.", "car+"),
    ("The cardiac silhouette is moderately enlarged.", "car+"),
    ("Cardiomegaly without overt edema.", "car+ ede-"),
    ("Heart size is at the upper limits of normal.", "car?"),
    ("Borderline cardiomegaly.", "car?"),
    ("The cardiomediastinal silhouette is within normal limits.", "car- ecm-"),
    ("The mediastinum is widened.", "ecm+"),
    ("Mediastinal contours are unremarkable.", "ecm-"),
    ("Possible early pneumonia in the right lower lobe.", "pna?"),
    ("Left basilar opacity may represent atelectasis or pneumonia.", "opa+ ate? pna?"),
    ("Opacity concerning for pneumonia.", "opa+ pna?"),
    ("Findings suggestive of mild pulmonary edema.", "ede?"),
    ("Pneumonia cannot be excluded.", "pna?"),
    ("A small pneumothorax cannot be entirely excluded.", "ptx?"),
    ("Underlying consolidation is not excluded.", "con?"),
    ("Atelectasis versus infiltrate at the left base.", "ate? opa?"),
    ("Bibasilar atelectasis vs. consolidation.", "ate? con?"),
    ("Probable small right effusion.", "eff?"),
    ("Pneumonia is unlikely.", "pna?"),
    ("Opacity likely reflects atelectasis rather than pneumonia.", "opa+ ate? pna-"),
    ("The right effusion has resolved.", "eff-"),
    ("Previously seen left pneumothorax is no longer seen.", "ptx-"),
    ("Interval resolution of the right pleural effusion.", "eff-"),
    ("The left effusion and atelectasis have cleared.", "eff- ate-"),
    ("Pleural effusion is absent.", "eff-"),
    ("A pneumothorax is not identified.", "ptx-"),
    ("No change in the moderate left effusion.", "eff+"),
    ("No significant interval change in bilateral opacities.", "opa+"),
    ("No increase in the size of the pneumothorax.", "ptx+"),
    ("Right pleural effusion without change.", "eff+"),
    ("No pneumothorax, small left pleural effusion.", "ptx- eff+"),
    ("No pneumothorax but there is a small effusion.", "ptx- eff+"),
    ("No effusion is seen; there is consolidation at the left base.", "eff- con+"),
    ("No pneumothorax. Unchanged effusions.", "ptx- eff+"),
    ("No edema, effusion or large consolidation.", "ede- eff- con-"),
    ("No new consolidation, stable small effusion.", "con- eff+"),
    ("Aside from mild cardiomegaly, no acute cardiopulmonary abnormality.", "car+ nof-"),
    ("No acute cardiopulmonary process.", "nof+"),
    ("Normal chest radiograph.", "nof+"),
    ("No acute cardiopulmonary disease, pneumothorax, or effusion.", "nof+ ptx- eff-"),
    ("Small effusion, no pneumothorax.", "eff+ ptx-"),
    ("Small effusion, pneumothorax is not seen.", "eff+ ptx-"),
    ("Small effusion, pneumothorax cannot be excluded.", "eff+ ptx?"),
    ("Possible atelectasis, small effusion.", "ate? eff+"),
    ("No effusion, possible pneumonia.", "eff- pna?"),
    ("No effusion, questionable nodule.", "eff- les?"),
    ("No evidence to suggest pneumonia.", "pna-"),
    ("History of pneumonia.", ""),
    ("Evaluate for pneumothorax.", ""),
    ("Rule out pneumonia.", ""),
    ("INDICATION: fever, assess pneumonia. FINDINGS: The lungs are clear.", "con- opa-"),
    ("HISTORY: Lung mass.\n\nThere is a pneumothorax.", "ptx+"),
    (
        "IMPRESSION: 1. Stable mild cardiomegaly. 2. Hyperexpanded but clear lungs.",
        "car+ con- opa-",
    ),
    ("1. No pneumothorax\n2. Left effusion\n3. Old rib fractures", "ptx- eff+ fra+"),
    ("Pleura: no effusion\nBones: healed rib fracture", "eff- fra+"),
    ("No effusion\nCardiomegaly", "eff- car+"),
    (
        "There is no consolidation, pneumothorax or large pleural\neffusion. The heart is enlarged.",
        "con- ptx- eff- car+",
    ),
    ("A 1.5 cm nodule is seen in the right upper lobe.", "les+"),
    ("No lung mass or nodule.", "les-"),
    ("Left hilar fullness; mass effect on the trachea.", ""),
    ("Anterior mediastinal mass.", "ecm+"),
    ("Small pericardial effusion.", ""),
    ("Soft tissue edema of the chest wall.", ""),
    ("Metastatic disease cannot be ruled out.", "les?"),
    ("Acute displaced rib fracture.", "fra+"),
    ("No displaced rib fracture.", "fra-"),
    ("Old healed fractures of the left ribs.", "fra+"),
    ("Biapical pleural thickening.", "plo+"),
    ("Calcified pleural plaques.", "plo+"),
    ("No pleural thickening or effusion.", "plo- eff-"),
    ("Right hydropneumothorax.", "ptx+ eff+"),
    ("Endotracheal tube terminates 4 cm above the carina.", "dev+"),
    ("Right PICC line with tip in the SVC, no pneumothorax.", "dev+ ptx-"),
    ("The chest tube has been removed.", "dev-"),
    ("Interval removal of the left chest tube, no pneumothorax.", "dev- ptx-"),
    ("Status post pacemaker placement.", "dev+"),
    ("Blunting of the left costophrenic angle may represent a small effusion.", "eff+"),
    ("Pulmonary vascular congestion without frank edema.", "ede+"),
    ("Congestive heart failure.", "ede+"),
    ("?pneumonia", "pna?"),
    ("Increased interstitial markings, edema versus infection.", "opa+ ede? pna?"),
    ("Bilateral interstitial infiltrates consistent with edema.", "opa+ ede+"),
    ("Not only atelectasis but also consolidation.", "ate+ con+"),
    ("Effusion with adjacent atelectasis.", "eff+ ate+"),
    ("No pneumothorax with stable left effusion.", "ptx- eff+"),
    ("The osseous structures are intact.", ""),
    ("Lungs are not clear.", "con? opa?"),
    ("Neither effusion nor pneumothorax.", "eff- ptx-"),
    ("Patchy right lower lobe airspace disease, pneumonia is suspected.", "opa+ pna?"),
    (
        "No pneumothorax or pneumomediastinum, however left lung is collapsed with atelectasis.",
        "ptx- ate+",
    ),
    ("No radiographic evidence for acute cardiopulmonary process.", "nof+"),
    ("Negative for acute cardiopulmonary abnormality.", "nof+"),
    ("No consolidation concerning for pneumonia.", "con- pna-"),
    ("Pneumothorax: none. Effusion: small left. Consolidation: no.", "ptx- eff+ con-"),
    ("The right lower lobe opacity has nearly resolved.", "opa?"),
    ("Blunted costophrenic angle, which may be due to pleural thickening.", "eff+ plo?"),
    ("The mediastinal and hilar contours are normal.", "ecm-"),
    ("No acute bony abnormality.", ""),
    ("If there is concern for fracture, rib views may help.", ""),
)


def read(text: str) -> dict[str, str]:
    return RULES.states([text], FINDINGS)


def expected(shorthand: str) -> dict[str, str]:
    said = {SHORT[word[:-1]]: STATES[word[-1]] for word in shorthand.split()}
    positive = {name for name, state in said.items() if state == "present"}
    if positive - {"support_devices", "no_finding"}:
        said["no_finding"] = "absent"
    return {**dict.fromkeys(FINDINGS, "not_mentioned"), **said}


@pytest.mark.parametrize(("sentence", "shorthand"), SENTENCES, ids=range(len(SENTENCES)))
def test_a_telling_sentence_is_read_as_a_radiologist_means_it(
    sentence: str, shorthand: str
) -> None:
    assert read(sentence) == expected(shorthand)


def test_of_several_sentences_the_one_that_affirms_outweighs_the_one_that_doubts_or_denies() -> (
    None
):
    assert read("Possible pneumonia. No pneumonia.")["pneumonia"] == "uncertain"
    assert (
        read("No effusion on the right. Possible effusion. Left effusion.")["pleural_effusion"]
        == "present"
    )


def test_doubtful_findings_leave_it_open_whether_there_is_none() -> None:
    text = "No acute cardiopulmonary process. Possible atelectasis."
    assert read(text)["no_finding"] == "uncertain"


def test_of_a_report_without_words_nothing_is_known() -> None:
    assert RULES.states(["", "  "], FINDINGS) == {}


def test_a_text_that_is_too_long_for_a_report_says_nothing() -> None:
    assert RULES.states(["There is an effusion. " * (MAX_CHARACTERS // 20)], FINDINGS) == {}


def test_a_finding_that_the_rules_do_not_know_is_left_out() -> None:
    assert RULES.states(["Effusion."], ("scoliosis", "edema")) == {"edema": "not_mentioned"}


HOSTILE = (
    "a" * MAX_CHARACTERS,
    "no " * (MAX_CHARACTERS // 3),
    "no, or " * (MAX_CHARACTERS // 7),
    "heart " * (MAX_CHARACTERS // 6),
    "," * MAX_CHARACTERS,
    ":" * MAX_CHARACTERS,
    "\n" * MAX_CHARACTERS,
    "\n \t" * (MAX_CHARACTERS // 3),
    "1" * MAX_CHARACTERS,
    "1." * (MAX_CHARACTERS // 2),
    "effusion cannot be excluded, " * (MAX_CHARACTERS // 29),
    "no evidence of pleural " * (MAX_CHARACTERS // 23),
    "cannot be " * (MAX_CHARACTERS // 10),
    "- history: " * (MAX_CHARACTERS // 11),
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_takes_more_time_than_its_length_warrants(text: str) -> None:
    start = time.process_time()
    read(text)
    assert (
        time.process_time() - start < 3.0
    )  # an ordinary text of this length: about a third of a second


@given(
    pieces=st.lists(
        st.sampled_from(
            ["no", "effusion", ",", "or", ".", ":", "\n", "heart", "enlarged", "?", "vs.", "with"]
        )
        | st.text(max_size=5),
        max_size=40,
    )
)
def test_whatever_the_text_every_finding_gets_one_of_the_four_states(pieces: list[str]) -> None:
    states = read(" ".join(pieces))
    assert set(states) in ({*FINDINGS}, set())
    assert set(states.values()) <= set(FINDING_STATES)


GERMAN = """
findings:
  pleural_effusion: {present: [Pleuraerg*]}
  pneumothorax: {present: [Pneumothora*]}
negation: {before: [kein, keine, ohne]}
doubt: {before: [fraglich*], after: [nicht auszuschließen]}
or_words: [oder]
and_words: [und]
"""


def own_rules(folder: Path, text: str) -> ReportTerms:
    path = folder / "rules.yaml"
    path.write_text(text)
    return load_config(path, ReportTerms)


def test_a_hospital_can_bring_the_rules_of_its_language(tmp_path: Path) -> None:
    rules = ReportRules(own_rules(tmp_path, GERMAN))
    text = "Kein Pneumothorax. Pleuraerguss rechts nicht auszuschließen."
    assert rules.states([text], FINDINGS) == {
        "pleural_effusion": "uncertain",
        "pneumothorax": "absent",
    }


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("pneumothorax:", "pneumotorax:", "no finding pneumotorax"),
        ("[kein, keine, ohne]", "[kein, kein]", "'kein' stands twice"),
        ("[fraglich*]", "[kein]", "'kein' stands twice"),
        ("[Pleuraerg*]", "[heart ..]", "words on both sides"),
        ("[Pleuraerg*]", "[a b c d e f g h i]", "more than 8 words"),
        ("or_words:", "or_wrods:", "or_wrods"),
    ],
)
def test_a_slip_in_the_rules_is_named(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        own_rules(tmp_path, GERMAN.replace(before, after))


def test_a_phrase_is_words_beginnings_of_words_and_one_gap() -> None:
    assert phrase_words("Heart-size .. Enlarg*") == ("heart", "size", "..", "enlarg*")
