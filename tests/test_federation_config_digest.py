"""Two hospitals have the same study if its digest is the same, and only then."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from federation.config import load_study, parse_study, study_digest, study_json

CONFIGS = Path(__file__).parents[1] / "configs"
SMOKE = yaml.safe_load((CONFIGS / "smoke.yaml").read_text())
FULL_STUDY = json.loads(study_json(load_study(CONFIGS / "reference.yaml")))


def smoke() -> Any:  # noqa: ANN401  YAML holds anything
    """A fresh copy of the smoke study that the test may edit."""
    return json.loads(json.dumps(SMOKE))


@given(st.randoms())
def test_the_digest_does_not_see_the_order_of_keys(random: Any) -> None:  # noqa: ANN401
    def shuffled(content: Any) -> Any:  # noqa: ANN401
        if isinstance(content, dict):
            names = list(content)
            random.shuffle(names)
            return {name: shuffled(content[name]) for name in names}
        return [shuffled(item) for item in content] if isinstance(content, list) else content

    expected = study_digest(parse_study(json.dumps(SMOKE)))
    assert study_digest(parse_study(json.dumps(shuffled(SMOKE)))) == expected


def leaves(content: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:  # noqa: ANN401
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return [leaf for key, value in items for leaf in leaves(value, (*place, key))]
    return [place]


OTHERS: dict[str, Any] = {
    "codec": {"kind": "diffusers", "digest": "0" * 64, "num_channels": 4, "factor": 8},
    "size": "small",
    "image_size": 256,
    "optimizer": "sgd",
    "precision": "fp32",
    "rule": "alternate",
    "upload": "int8",
    "site_weights": "records",
    "start": "0" * 64,
    "privacy": {"noise_multiplier": 1.0, "sample_rate": 0.1, "max_grad_norm": 1.0},
}


def another(place: tuple[str | int, ...], value: str | float) -> Any:  # noqa: ANN401
    """A valid value that is not this one."""
    name = str(place[-1])
    if place[-2:] == ("combine", "rule"):
        return "median"
    if isinstance(value, bool):
        return not value
    if name in OTHERS:
        return OTHERS[name] if OTHERS[name] != value else "bf16"
    if isinstance(value, str):
        return "another"
    return value + 1 if isinstance(value, int) else value * 0.5 + 0.01


@pytest.mark.parametrize(
    "place",
    [
        place
        for place in leaves(FULL_STUDY)
        if "targets" not in place
        and place[-1] != "kind"
        # its first stage computes in bf16, which goes with no privacy; its second says the same
        and place != ("stages", 0, "local", "privacy")
        # these two go together with a rule
        and place[-1] not in {"num_faulty", "download"}
        and place != ("stages", 1, "combine", "rule")
    ],
    ids=lambda place: ".".join(map(str, place)),
)
def test_the_digest_sees_every_value(place: tuple[str | int, ...]) -> None:
    content: Any = json.loads(json.dumps(FULL_STUDY))
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = another(place, holder[place[-1]])
    changed = study_digest(parse_study(json.dumps(content)))
    assert changed != study_digest(parse_study(json.dumps(FULL_STUDY)))


def test_a_default_that_is_written_out_is_the_same_study() -> None:
    content = smoke()
    content["stages"][0]["local"]["beta1"] = 0.9
    content["stages"][0]["outer"] = {"learning_rate": 1}
    assert study_digest(parse_study(json.dumps(content))) == study_digest(
        parse_study(json.dumps(SMOKE))
    )


def test_a_study_of_pixels_is_the_same_whether_it_says_so_or_not() -> None:
    said = smoke()
    said["model"]["codec"] = "pixel"
    assert study_digest(parse_study(json.dumps(said))) == study_digest(
        parse_study(json.dumps(SMOKE))
    )
