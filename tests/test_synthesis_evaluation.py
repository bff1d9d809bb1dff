"""Whole evaluations of models whose faults are known: one that copies, one that does not listen, one that is good."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.cache.layout import CacheMissing
from client.tally import Tally
from model.arrays import Arrays
from model.conditioning import FINDINGS
from model.config import model_config
from model.folder import save_model
from model.generate import Generator, open_generator
from model.guidance import NO_GUIDANCE
from model.manifest import Manifest
from model.sampler import Sampling
from synthesis.evaluation.drawn import Studio
from synthesis.evaluation.evaluate import Evaluation, Measured, evaluate
from synthesis.evaluation.hospitals import Hospitals, open_hospitals
from synthesis.evaluation.pictures import pictures
from synthesis.evaluation.plan import Plan
from synthesis.evaluation.report import number, percent, render, signed, to_json, with_interval
from tests.toys.evaluated import (
    NUM,
    SCHEMA,
    SIDE,
    FillCache,
    Painter,
    asked,
    picture,
    quiet,
    rows_of,
    write_hospital,
)

SAMPLING = Sampling(num_steps=1, guidance=NO_GUIDANCE, method="euler")
PLAN = Plan(
    num_samples=60,
    sampling=SAMPLING,
    num_probe_steps=100,
    num_classifier_steps=40,
    num_resamples=40,
)
Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory,
    random_weights: Arrays,
    fill_cache: FillCache,
    toy_manifest: Manifest,
) -> Path:
    """A model and two hospitals."""
    folder = tmp_path_factory.mktemp("evaluation")
    save_model(folder / "model", random_weights, toy_manifest)
    write_hospital(folder / "north", fill_cache, seed=1)
    write_hospital(folder / "south", fill_cache, seed=2)
    return folder


@pytest.fixture(scope="module")
def generator(root: Path) -> Generator:
    """Gives the schema and the size; the studios below draw."""
    return open_generator(root / "model")


@pytest.fixture(scope="module")
def hospitals(root: Path, generator: Generator) -> Hospitals:
    """Both hospitals together."""
    return open_hospitals([root / "north", root / "south"], generator)


@pytest.fixture(scope="module")
def good(
    tmp_path_factory: pytest.TempPathFactory, generator: Generator, hospitals: Hospitals
) -> Measured:
    """A model that draws patients who do not exist as asked for."""
    studio = Painter(
        generator=generator,
        folder=tmp_path_factory.mktemp("good"),
        on_progress=quiet,
        paint=lambda row, number: picture(asked(row, number), number),
    )
    return evaluate(studio, hospitals, PLAN)


@pytest.fixture(scope="module")
def bad(
    tmp_path_factory: pytest.TempPathFactory, generator: Generator, hospitals: Hospitals
) -> Evaluation:
    """A model that shows one of ten training radiographs, whatever is asked for."""
    known, _ = hospitals.training.source.batch(hospitals.training.places[:10])
    studio = Painter(
        generator=generator,
        folder=tmp_path_factory.mktemp("bad"),
        on_progress=quiet,
        paint=lambda _row, number: known[number * 7 % 10, 0].numpy(),
    )
    return evaluate(studio, hospitals, PLAN).evaluation


def test_a_good_model_cannot_be_told_from_real_radiographs(good: Measured) -> None:
    (fidelity,) = good.evaluation.fidelity
    pooled = fidelity.groups[0]
    assert (pooled.num_each, pooled.num_all) == (30, 60)
    assert pooled.frechet_interval.low < pooled.drawn.frechet < pooled.frechet_interval.high
    assert pooled.drawn.frechet == pytest.approx(pooled.real.frechet, rel=0.3)
    assert pooled.drawn.prdc.coverage == pytest.approx(pooled.real.prdc.coverage, abs=0.15)
    assert "cannot be told" in fidelity.verdict
    assert [group.group for group in fidelity.groups] == ["all views", "PA", "AP"]


def test_a_good_model_shows_what_was_asked_for_whole_or_in_part(good: Measured) -> None:
    whole, half = good.evaluation.control
    for found in (whole, half):
        assert found.mean_drawn.value > 0.9
        assert found.mean_ratio.value == pytest.approx(1.0, abs=0.1)
    assert {one.attribute for one in whole.attributes} == {"age", "sex", "view", "cardiomegaly"}
    assert half.num_samples == 30


def test_samples_of_a_good_model_train_as_well_as_radiographs(good: Measured) -> None:
    assert good.evaluation.utility.ratio.value == pytest.approx(1.0, abs=0.15)
    assert good.evaluation.utility.num_training == 60


def test_a_good_model_copies_nobody_and_a_bad_one_is_caught(
    good: Measured, bad: Evaluation
) -> None:
    assert good.evaluation.copying.flagged.count <= 2
    assert good.evaluation.copying.flagged.total == 120
    assert bad.copying.flagged.value > 0.95
    assert "repeats training radiographs" in bad.copying.verdict
    assert max(pair.training for pair in bad.copying.pairs) < 10


def test_a_model_that_does_not_listen_is_at_chance(bad: Evaluation) -> None:
    found = bad.control[0]
    assert found.mean_drawn.value == pytest.approx(0.5, abs=0.15)
    assert found.mean_real.value > 0.9
    assert bad.utility.synthetic.value < bad.utility.real.value - 0.2
    assert found.mean_ratio.interval.high < 0.8
    assert any(words in found.verdict for words in ("cannot be ruled out", "less plainly"))


def test_a_model_of_ten_pictures_has_no_range_and_no_variety(
    bad: Evaluation, good: Measured
) -> None:
    pooled = bad.fidelity[0].groups[0]
    assert pooled.excess.value > 0
    assert pooled.drawn.prdc.recall < 0.7 * pooled.real.prdc.recall
    assert bad.diversity.same_condition.value > good.evaluation.diversity.same_condition.value


def test_the_same_seed_gives_the_same_numbers(
    tmp_path: Path, generator: Generator, hospitals: Hospitals
) -> None:
    plan = replace(PLAN, num_samples=20, num_probe_steps=3, num_classifier_steps=2, num_resamples=5)
    found = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        studio = Studio(generator=generator, folder=tmp_path / name, on_progress=quiet)
        found.append(to_json(evaluate(studio, hospitals, plan).evaluation))
    assert found[0] == found[1]


def test_every_number_of_the_page_is_in_the_facts(good: Measured) -> None:
    page = render(good.evaluation, pictures(good, SCHEMA, {}, with_real=True))
    known = set(_spoken(to_json(good.evaluation)))
    cells = re.findall(r'<(?:td class="number"|dd)>(?!<code)(.*?)</(?:td|dd)>', page, re.DOTALL)
    shown = {
        token for cell in cells for token in re.findall(r"[+-]?\d(?:[\d,.]*\d)?(?:e[+-]\d+)?", cell)
    }
    assert len(shown) > 100
    assert shown - known == set()


def _spoken(value: object) -> Iterator[str]:
    """A number in every way in which the page may write it."""
    if isinstance(value, dict):
        for one in value.values():
            yield from _spoken(one)
    elif isinstance(value, list):
        for one in value:
            yield from _spoken(one)
    elif isinstance(value, (int, float)):
        for scaled in (value, 100 * value, 100 - 100 * value, 1000 * value):
            formats = (".0f", ".1f", ".2f", "+.2f")
            yield from (number(float(scaled)), *(format(scaled, one) for one in formats))


def test_the_page_warns_of_real_radiographs_and_has_none_if_so_wished(good: Measured) -> None:
    shown = pictures(good, SCHEMA, {}, with_real=True)
    page = render(good.evaluation, shown)
    assert "It must stay in the hospital" in page
    real = {row.real for row in shown.rows} | {pair.training for pair in shown.pairs}
    assert all(uri in page for uri in real if uri)
    other = pictures(good, SCHEMA, {}, with_real=False)
    bare = render(good.evaluation, other)
    assert "It must stay in the hospital" not in bare
    assert not any(uri in bare for uri in real if uri)
    assert all(sample in bare for row in other.rows for sample in row.samples)


def test_a_page_needs_no_network_and_no_script(good: Measured) -> None:
    page = render(good.evaluation, pictures(good, SCHEMA, {}, with_real=False))
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []


def test_numbers_are_written_for_people(good: Measured) -> None:
    whole = good.evaluation.control[0].mean_real
    assert with_interval(whole).count("to") == signed(whole).count("to") == 1
    assert percent(good.evaluation.copying.flagged).startswith(("0.0 %", "0.8 %", "1.7 %"))
    assert [number(value) for value in (0.00012345, 12345.6, float("nan"))] == [
        "0.000123",
        "12,346",
        "not known",
    ]


def test_the_command_leaves_a_page_and_facts_and_nothing_else(
    fedcxr: Command, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthesis.evaluation.plan.Plan.__init__.__kwdefaults__", QUICK)
    monkeypatch.setattr("synthesis.evaluation.steps_curve.STEPS", (1, 2))
    code, out, _ = fedcxr(
        *("evaluate", root / "model", "--real", root / "north", "--out", tmp_path / "out"),
        *("--n", 20, "--steps", 1, "--student", root / "model", "--json"),
    )
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["setup"]["num_held_out"] == 20
    assert [(p["model"], p["method"], p["num_steps"]) for p in facts["steps"]["points"]] == [
        ("model", "euler", 1),
        ("model", "euler", 2),
        ("model", "heun", 2),
        ("student", "euler", 1),
        ("student", "euler", 2),
    ]
    assert json.loads(out)["frechet_n"] == facts["fidelity"][0]["groups"][0]["num_each"]
    assert (tmp_path / "out" / "report.html").stat().st_mode & 0o077 == 0


QUICK = {
    name: getattr(Plan(num_probe_steps=3, num_classifier_steps=2, num_resamples=5), name)
    for name in Plan.__slots__
}


def test_an_interrupted_evaluation_leaves_nothing(
    fedcxr: Command, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("synthesis.evaluation.evaluate.learn", stop)
    words = ("evaluate", root / "model", "--real", root / "north", "--out", tmp_path / "out")
    assert fedcxr(*words)[0] == 130
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_evaluated_is_refused_with_one_sentence(
    refused: Refused, root: Path, tmp_path: Path, fill_cache: FillCache
) -> None:
    write_hospital(tmp_path / "few", fill_cache, seed=3, held_out=0.02)
    (tmp_path / "taken").mkdir()
    model, north = root / "model", root / "north"
    cases = {
        "are too few": ["--real", tmp_path / "few"],
        "is there already": ["--real", north, "--out", tmp_path / "taken"],
        "There is no cache": ["--real", tmp_path / "nowhere"],
        "is not an encoder": ["--real", north, "--encoder", "inception"],
        "dino": ["--real", north, "--encoder", f"rad-dino:{tmp_path / 'dino'}"],
    }
    for sentence, words in cases.items():
        assert sentence in refused("evaluate", model, "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_a_student_of_another_size_is_refused(
    refused: Refused, root: Path, tmp_path: Path, random_weights: Arrays, toy_manifest: Manifest
) -> None:
    larger = replace(toy_manifest, model=model_config("tiny", 2 * SIDE))
    save_model(tmp_path / "student", random_weights, larger)
    words = ("evaluate", root / "model", "--real", root / "north", "--out", tmp_path / "out")
    assert "the student draws another size" in refused(*words, "--student", tmp_path / "student")
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_cache_of_another_size_or_with_other_findings_is_refused(
    refused: Refused, root: Path, tmp_path: Path, fill_cache: FillCache
) -> None:
    rows = rows_of(40, 1)
    usual = {
        "patients": np.arange(40, dtype=np.uint64),
        "held_out": np.arange(40) % 2 == 0,
        "tally": Tally(num_files=40, num_usable=40, refused={}, num_patients=40, num_held_out=20),
    }
    large = np.zeros((40, 32, 32), np.uint16)
    fill_cache(tmp_path / "large", images=large, rows=rows, findings=FINDINGS, **usual)
    small = np.zeros((40, SIDE, SIDE), np.uint16)
    fill_cache(
        tmp_path / "other", images=small, rows=rows[:, :8], findings=("edema", "fracture"), **usual
    )
    for name, sentence in (("large", "32-pixel"), ("other", "findings")):
        words = ("evaluate", root / "model", "--real", tmp_path / name, "--out", tmp_path / "out")
        assert sentence in refused(*words)


def test_all_radiographs_of_a_hospital_that_took_no_part_are_held_out(
    root: Path, generator: Generator, hospitals: Hospitals
) -> None:
    found = open_hospitals([root / "north"], generator, [root / "south"])
    assert (found.held_out.hospitals == 1).sum() == NUM
    assert not (found.training.hospitals == 1).any()
    of_north = (hospitals.held_out.hospitals == 0).sum()
    assert (found.held_out.hospitals == 0).sum() == of_north
    assert found.names == ("cache 1", "cache 2")


def test_a_profile_names_the_hospital_and_its_number_in_the_study(
    root: Path, tmp_path: Path, generator: Generator, fill_cache: FillCache
) -> None:
    write_hospital(tmp_path / "state" / "cache", fill_cache, seed=4)
    (tmp_path / "site.yaml").write_text(
        "site_name: west\ncoordinator: localhost:1\nca_path: ca.crt\ndata_path: d\n"
        f"state_path: state\nimage_size: {SIDE}\n"
    )
    manifest = replace(generator.manifest, site_numbers={"west": 5})
    found = open_hospitals(
        [tmp_path / "site.yaml", root / "north"], replace(generator, manifest=manifest)
    )
    assert found.names == ("west", "cache 2")
    sites = found.training.rows[:, SCHEMA.names.index("site")]
    np.testing.assert_array_equal(sites, np.where(found.training.hospitals == 0, 5, 0))


def test_hospitals_with_the_same_keys_have_different_patients(
    hospitals: Hospitals, root: Path, generator: Generator
) -> None:
    everyone = np.concatenate([hospitals.training.patients, hospitals.held_out.patients])
    assert len(np.unique(everyone)) == 2 * NUM
    with pytest.raises(CacheMissing):
        open_hospitals([root / "nowhere"], generator)
    assert torch.equal(
        hospitals.held_out.images()[:3],
        torch.cat(list(hospitals.held_out.batches()))[:3],
    )
