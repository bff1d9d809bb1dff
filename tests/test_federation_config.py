"""Configuration files: what is valid, what is refused, and in which words."""

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.config import (
    Autoencoder,
    ModelChoice,
    RoundRules,
    StudyConfig,
    Transport,
    load_study,
    parse_study,
    study_digest,
    study_json,
)
from federation.privacy_terms import PrivacyTerms
from federation.stages import Combination, FullStage, LocalTraining, LoraStage, OuterStep
from federation.strict_yaml import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
STUDIES = sorted(
    path for path in CONFIGS.glob("*.yaml") if "stages" in yaml.safe_load(path.read_text())
)
SMOKE = yaml.safe_load((CONFIGS / "smoke.yaml").read_text())
FULL_STUDY = json.loads(study_json(load_study(CONFIGS / "reference.yaml")))
CODEC = {"kind": "diffusers", "digest": "0" * 64, "num_channels": 4, "factor": 8}
PRIVACY = {"noise_multiplier": 1.0, "sample_rate": 0.1, "max_grad_norm": 1.0}


def smoke() -> Any:  # noqa: ANN401  YAML holds anything
    """A fresh copy of the smoke study that the test may edit."""
    return json.loads(json.dumps(SMOKE))


def written(folder: Path, content: object) -> Path:
    path = folder / "some.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def complaint(folder: Path, content: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(written(folder, content))
    return str(caught.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_that_is_delivered_is_valid(path: Path) -> None:
    assert load_study(path).num_rounds > 0


@pytest.mark.parametrize(
    "schema",
    [
        StudyConfig,
        ModelChoice,
        Autoencoder,
        RoundRules,
        FullStage,
        LoraStage,
        LocalTraining,
        OuterStep,
        Combination,
        Transport,
        PrivacyTerms,
    ],
)
def test_the_reference_study_explains_every_key_that_a_study_may_have(schema: type) -> None:
    text = (CONFIGS / "reference.yaml").read_text()
    assert is_dataclass(schema)
    assert [field.name for field in fields(schema) if f"{field.name}:" not in text] == []


def stated_defaults(text: str) -> dict[tuple[str, str], object]:
    """(section, key) -> default, as the comments of a reference say; keys that are switched off count too."""
    found: dict[tuple[str, str], object] = {}
    sections: dict[int, str] = {}
    key, section = "", ""
    for line in text.splitlines():
        content = re.fullmatch(r"(\s*)(?:# |- )?(\s*)([a-z_0-9]+):(.*)", line)
        if content is not None:
            depth, key = len(content[1] + content[2]) + 2 * ("- " in line[:6]), content[3]
            sections = {level: name for level, name in sections.items() if level < depth}
            section = sections[max(sections)] if sections else ""
            sections[depth] = key
        if "; default " in line and "default all" not in line:
            found[section, key] = yaml.safe_load(line.rsplit("default ", 1)[1])
    return found


def test_the_defaults_in_the_reference_are_the_defaults_in_the_code() -> None:
    local = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
    lora = LoraStage(kind="lora", num_rounds=1, local=local, rank=1, alpha=1.0)
    holders = {
        "model": ModelChoice(size="tiny", image_size=16),
        "rounds": RoundRules(num_sites=1, min_sites=1),
        "transport": Transport(),
        "local": local,
        "privacy": PrivacyTerms(noise_multiplier=1.0, sample_rate=1.0, max_grad_norm=1.0),
        "combine": Combination(),
        "outer": OuterStep(),
    }
    stated = stated_defaults((CONFIGS / "reference.yaml").read_text())
    assert stated.pop(("stages", "ema_decay")) == 0
    assert stated.pop(("stages", "rule")) == lora.rule
    assert stated == {place: getattr(holders[place[0]], place[1]) for place in stated}
    assert len(stated) == 32


def test_a_study_of_adapters_alone_names_the_model_it_starts_from(tmp_path: Path) -> None:
    content = smoke()
    content["stages"] = content["stages"][1:]
    assert "unless model.start names a model" in complaint(tmp_path, content)
    content["model"]["start"] = "0" * 64
    assert parse_study(json.dumps(content)).model.start == "0" * 64


def test_privacy_and_weights_by_records_do_not_go_together(tmp_path: Path) -> None:
    content = smoke()
    content["stages"][0]["local"]["privacy"] = PRIVACY
    parse_study(json.dumps(content))
    content["rounds"]["site_weights"] = "records"
    assert "site_weights must be uniform" in complaint(tmp_path, content)


def test_privacy_and_rounded_arithmetic_do_not_go_together(tmp_path: Path) -> None:
    content = smoke()
    content["stages"][0]["local"] |= {"privacy": PRIVACY, "precision": "bf16"}
    assert "precision must be fp32 with privacy" in complaint(tmp_path, content)


def test_a_study_survives_the_journey_as_json() -> None:
    study = load_study(CONFIGS / "reference.yaml")
    assert parse_study(study_json(study)) == study


def test_an_unknown_key_is_named_with_its_file(tmp_path: Path) -> None:
    text = complaint(tmp_path, smoke() | {"rouns": 3})
    assert "some.yaml cannot be used" in text
    assert "rouns: " in text


def test_an_unknown_key_is_named_with_its_place_at_every_level(tmp_path: Path) -> None:
    content = smoke()
    content["stages"][0]["local"]["learning_rat"] = 1.0
    assert "stages.0.full.local.learning_rat: " in complaint(tmp_path, content)


def test_a_value_of_the_wrong_kind_is_named_with_its_place(tmp_path: Path) -> None:
    content = smoke()
    content["rounds"]["min_sites"] = "many"
    assert "rounds.min_sites: " in complaint(tmp_path, content)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    content = smoke()
    del content["model"]["size"]
    assert "model.size: Field required" in complaint(tmp_path, content)


def test_every_complaint_has_a_line_of_its_own(tmp_path: Path) -> None:
    content = smoke()
    content["seed"], content["name"] = -1, "Big Name"
    assert len(complaint(tmp_path, content).splitlines()) == 3


def test_an_empty_file_is_refused_in_words(tmp_path: Path) -> None:
    assert "the file: " in complaint(tmp_path, "")


def test_a_missing_file_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml cannot be read .*check the name"):
        load_study(tmp_path / "nowhere.yaml")


def test_broken_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "is not valid YAML (line 3: expected" in complaint(
        tmp_path, "name: a\nseed: 1\nmodel: [}\n"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name: \x07"])
def test_a_file_that_is_not_text_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_study(path)


def test_text_that_is_not_a_study_is_refused_at_the_hospital() -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        parse_study("stages")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0.0, -1.0])
def test_a_rate_is_a_finite_number_above_zero(tmp_path: Path, value: float) -> None:
    content = smoke()
    content["stages"][0]["local"]["learning_rate"] = value
    assert "stages.0.full.local.learning_rate: " in complaint(tmp_path, content)


def test_a_quorum_larger_than_the_federation_is_refused(tmp_path: Path) -> None:
    content = smoke()
    content["rounds"]["min_sites"] = 4
    assert "min_sites 4 is more than num_sites 3" in complaint(tmp_path, content)


def test_an_image_size_that_is_not_whole_patches_is_refused(tmp_path: Path) -> None:
    content = smoke()
    content["model"]["image_size"] = 33
    assert "image_size 33 must be a multiple of a patch, whose side in pixels is 8" in complaint(
        tmp_path, content
    )


@pytest.mark.parametrize("order", [[1], [1, 0], [0, 1, 1]])
def test_full_stages_come_first_and_one_lora_stage_last(tmp_path: Path, order: list[int]) -> None:
    content = smoke()
    content["stages"] = [content["stages"][index] for index in order]
    assert "stages " in complaint(tmp_path, content)


def test_several_full_stages_may_follow_each_other(tmp_path: Path) -> None:
    content = smoke()
    content["stages"] = [content["stages"][index] for index in (0, 0, 1)]
    assert load_study(written(tmp_path, content)).num_rounds == 6


def test_an_adapter_on_layers_that_do_not_exist_is_refused_before_the_study(tmp_path: Path) -> None:
    content = smoke()
    content["stages"][1]["targets"] = ["qkv", "mlp"]
    assert "adapter targets are ('qkv', 'mlp')" in complaint(tmp_path, content)


def test_an_adapter_of_more_than_the_models_width_is_refused(tmp_path: Path) -> None:
    content = smoke()
    content["stages"][1]["rank"] = 97
    assert "rank 97 is more than 96" in complaint(tmp_path, content)


def test_rounds_count_through_all_stages(study_of: Callable[..., StudyConfig]) -> None:
    local = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
    study = study_of(
        FullStage(kind="full", num_rounds=2, local=local),
        LoraStage(kind="lora", num_rounds=3, local=local, rank=1, alpha=1.0),
    )
    assert [study.stage_of(number)[0] for number in range(1, 6)] == [0, 0, 1, 1, 1]
    assert [study.first_round_of(index) for index in range(2)] == [1, 3]


@pytest.mark.parametrize("number", [-1, 0, 6])
def test_a_round_outside_the_study_is_refused(
    study_of: Callable[..., StudyConfig], number: int
) -> None:
    local = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
    study = study_of(FullStage(kind="full", num_rounds=5, local=local))
    with pytest.raises(ValueError, match=f"round {number} is none of the study's 5 rounds"):
        study.stage_of(number)


def test_a_key_that_stands_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: a\nseed: 1\nname: b\n")
    with pytest.raises(ConfigError, match=r"not valid YAML \(line 3: repeated key\)"):
        load_study(path)


def with_codec(**changes: object) -> Any:  # noqa: ANN401
    content = smoke()
    content["model"]["codec"] = CODEC | changes
    return content


def test_a_study_of_latents_is_of_another_network_and_says_which_autoencoder(
    tmp_path: Path,
) -> None:
    study = load_study(written(tmp_path, with_codec()))
    assert study.model.codec_digest == "0" * 64
    assert (study.model_config.num_channels, study.model_config.codec_factor) == (4, 8)
    assert study.model_config.patch_size == 1
    assert study_digest(parse_study(study_json(study))) == study_digest(study)


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        ("pixels", "model.codec.pixel: Input should be 'pixel'"),
        (CODEC | {"digest": "abc"}, "model.codec.diffusers.digest: String should match"),
        (CODEC | {"path": "/x"}, "model.codec.diffusers.path: Unexpected keyword argument"),
        (CODEC | {"factor": 0}, "model.codec.diffusers.factor: Input should be greater than 0"),
        (CODEC | {"factor": 7}, "image_size 32 must be a multiple of a patch"),
    ],
)
def test_a_codec_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, codec: object, expected: str
) -> None:
    content = smoke()
    content["model"]["codec"] = codec
    assert expected in complaint(tmp_path, content)


def refused(**changes: Any) -> str:  # noqa: ANN401
    """Why a study with these changes is no study; names are places, with two underscores between keys."""
    content = json.loads(json.dumps(FULL_STUDY))
    for place, value in changes.items():
        holder: Any = content
        *keys, last = [int(key) if key.isdigit() else key for key in place.split("__")]
        for key in keys:
            holder = holder[key]
        holder[last] = value
    with pytest.raises(ConfigError) as error:
        parse_study(json.dumps(content))
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages__0__combine__num_faulty": 1}, "other rules have none"),
        ({"stages__0__combine__rule": "multi-krum"}, "multi-krum need at least 1"),
        (
            {
                "stages__0__combine": {"rule": "multi-krum", "num_faulty": 1},
                "rounds__num_sites": 9,
                "rounds__min_sites": 4,
            },
            "rounds.min_sites must be at least 5 with combine.rule multi-krum and num_faulty 1",
        ),
        (
            {
                "stages__0__combine": {"rule": "trimmed-mean", "num_faulty": 2},
                "rounds__num_sites": 9,
                "rounds__min_sites": 4,
            },
            "rounds.min_sites must be at least 5 with combine.rule trimmed-mean and num_faulty 2",
        ),
        ({"stages__1__combine__rule": "median"}, "combine.rule must be mean with product-svd"),
        ({"transport__download": "int8"}, "transport.download must be fp32 with product-svd"),
        (
            {"stages__1__rule": "alternate", "stages__1__site_ranks": {"north": 2}},
            "site_ranks needs product-svd",
        ),
        ({"stages__1__site_ranks": {"north": 10_000}}, "site_ranks may hold no rank above"),
        ({"stages__0__outer": {"kind": "adam", "momentum": 0.9}}, "momentum must be 0 with adam"),
        ({"stages__0__outer__beta2": 1.0}, "less than 1"),
        ({"transport__shard_values": 2**29}, "less than or equal to 268435456"),
        ({"transport__upload": "int2"}, "'fp32', 'bf16', 'int8' or 'int4'"),
    ],
)
def test_rules_that_do_not_go_together_are_refused_with_the_reason(
    changes: dict[str, Any], words: str
) -> None:
    assert words in refused(**changes)
