"""A header gives age, sex, view and manufacturer, and nothing else."""

import pytest
from pydicom import Dataset

from client.dicom.metadata import age_in_years, metadata_of
from client.dicom.orientation import UNKNOWN, orientation_of
from client.dicom.view import is_surely_frontal, shows_chest, view_of
from model.conditioning import Metadata


def header(**elements: object) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("stated", "years"),
    [
        ("063Y", 63.0),
        ("062", 62.0),
        ("018M", 1.5),
        ("089Y", 89.0),
        ("090Y", 90.0),
        ("104Y", 90.0),
        ("155Y", None),
        ("old", None),
        ("", None),
    ],
)
def test_age_is_in_years_and_the_very_old_are_all_ninety(stated: str, years: float | None) -> None:
    assert age_in_years(header(PatientAge=stated)) == years


def test_age_comes_from_the_dates_if_it_is_not_stated() -> None:
    day_before = header(PatientBirthDate="19700615", StudyDate="20240614")
    birthday = header(PatientBirthDate="19700615", StudyDate="20240615")
    assert age_in_years(day_before) == 53.0
    assert age_in_years(birthday) == 54.0


def test_a_birth_after_the_study_gives_no_age() -> None:
    assert age_in_years(header(PatientBirthDate="20300101", StudyDate="20240614")) is None


def test_everything_but_the_asked_fields_is_dropped() -> None:
    found = header(
        PatientSex="F",
        PatientAge="050Y",
        ViewPosition="PA",
        Manufacturer="FUJI PHOTO FILM Co., ltd.",
    )
    found.PatientName, found.EthnicGroup, found.InstitutionName = (
        "Doe^Jane",
        "white",
        "St. Elsewhere",
    )
    assert metadata_of(found, {}) == Metadata(
        age=50.0, sex="F", view="PA", race=None, site=None, manufacturer=4, findings={}
    )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("GE Healthcare", 5),
        ('"GE Healthcare"', 5),
        ("GEneric Imaging", 16),
        ("Agfa-Gevaert", 1),
        ("Carestream Health", 3),
        ("PHILIPS Medical Systems", 8),
        ("Nobody Ltd", 16),
        ("", None),
    ],
)
def test_manufacturers_have_fixed_numbers(name: str, number: int | None) -> None:
    assert metadata_of(header(Manufacturer=name), {}).manufacturer == number


def test_unknown_sex_is_none() -> None:
    assert metadata_of(header(PatientSex="O"), {}).sex is None


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "ANTERO POSTERIOR"}, "AP"),
        ({"ViewPosition": "LL"}, "LATERAL"),
        ({"ViewPosition": "RAO"}, "OTHER"),
        ({"SeriesDescription": "Chest p.a."}, None),
        ({"SeriesDescription": "Chest PA"}, "PA"),
        ({"SeriesDescription": "Thorax LAT"}, "LATERAL"),
        ({"ViewPosition": "AP", "SeriesDescription": "Thorax LAT"}, "LATERAL"),
        ({}, None),
    ],
)
def test_the_view_is_read_from_what_the_header_says(
    elements: dict[str, str], view: str | None
) -> None:
    assert view_of(header(**elements), UNKNOWN) == view


def test_rows_from_front_to_back_make_a_picture_lateral_whatever_it_is_called() -> None:
    found = header(ViewPosition="PA", PatientOrientation=["A", "F"])
    assert view_of(found, orientation_of(found)) == "LATERAL"


def test_rows_from_side_to_side_keep_a_picture_frontal() -> None:
    found = header(ViewPosition="AP", SeriesDescription="AP LAT", PatientOrientation=["L", "F"])
    assert view_of(found, orientation_of(found)) == "AP"


@pytest.mark.parametrize(
    ("elements", "chest"),
    [
        ({}, None),
        ({"BodyPartExamined": "CHEST"}, True),
        ({"BodyPartExamined": "PORT CHEST"}, True),
        ({"StudyDescription": "RX TORAX"}, True),
        ({"BodyPartExamined": "HAND"}, False),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "CHEST AND ABDOMEN"}, False),
    ],
)
def test_the_body_part_must_not_be_another(elements: dict[str, str], *, chest: bool | None) -> None:
    assert shows_chest(header(**elements)) is chest


@pytest.mark.parametrize(
    ("stated", "race"),
    [("white", "white"), ("African American", "black"), ("Klingon", None), ("", None)],
)
def test_race_is_read_through_the_hospitals_own_words(stated: str, race: str | None) -> None:
    groups = {"WHITE": "white", "AFRICAN-AMERICAN": "black"}
    assert metadata_of(header(EthnicGroup=stated), groups).race == race
    assert metadata_of(header(EthnicGroup=stated), {}).race is None


def test_a_code_for_frontal_tells_that_much() -> None:
    code = Dataset()
    code.CodeValue = "399033003"
    found = header(ViewCodeSequence=[code])
    assert view_of(found, UNKNOWN) is None
    assert is_surely_frontal(found, UNKNOWN)
    assert not is_surely_frontal(header(), UNKNOWN)


def test_columns_from_front_to_back_make_a_sideways_picture_lateral() -> None:
    found = header(ViewPosition="PA", PatientOrientation=["F", "A"])
    assert view_of(found, orientation_of(found)) == "LATERAL"
