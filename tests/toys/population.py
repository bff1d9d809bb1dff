"""Patients whose findings follow one another in a known way, and what a table of them says."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from model.conditioning import FINDINGS, Metadata, Schema

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
Fill = Callable[..., None]

DEVICES, HEART = "support_devices", "cardiomegaly"
NUM = 600


def rows_of(rng: np.random.Generator, *, mean_age: float, prevalence: float) -> np.ndarray:
    """Half of what is absent is not mentioned; edema follows a large heart, devices follow edema, AP follows devices."""
    rows = []
    for _ in range(NUM):
        old = rng.normal(mean_age, 12.0)
        heart = rng.random() < prevalence
        edema = rng.random() < (0.7 if heart else 0.1)
        devices = rng.random() < (0.8 if edema else 0.1)
        there = {HEART: heart, "edema": edema, DEVICES: devices}
        findings = {
            name: rng.choice(("present", "present", "present", "uncertain"))
            if there.get(name)
            else rng.choice(("absent", "not_mentioned"))
            for name in FINDINGS
        }
        findings["no_finding"] = "not_mentioned" if heart or edema else "present"
        view = "AP" if rng.random() < (0.9 if devices else 0.1) else "PA"
        metadata = Metadata(
            age=float(np.clip(old, 0, 90) // 1), sex=str(rng.choice(["F", "M"])), view=view,
            race=None, site=None, manufacturer=4 if view == "AP" else 9, findings=findings,
        )  # fmt: skip
        rows.append(Schema().row(metadata))
    return np.array(rows, np.float32)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def share(lines: list[dict[str, str]], name: str, *words: str) -> float:
    return sum(line[name] in words for line in lines) / len(lines)


def there(lines: list[dict[str, str]], name: str) -> float:
    return share(lines, name, "present", "uncertain")
