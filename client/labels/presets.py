"""Mappings and report rules that come with the program, by name, and a hospital's own, by path."""

from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeVar

from client.labels.mapping import LabelMapping
from client.labels.report_terms import ReportTerms
from federation.strict_yaml import ConfigError, load_config

PRESETS = ("fedcxr", "chexpert", "mimic", "nih", "padchest", "vindr", "brax", "rexgradient")
RULES = ("report_terms",)
_ENDINGS = (".yaml", ".yml")

Config = TypeVar("Config")


def load_mapping(name: str, folder: Path) -> LabelMapping:
    """The mapping of a name, or of a YAML file whose path may be relative to the folder.

    Raises:
        ConfigError: there is no such mapping, or it cannot be used, with every reason.
    """
    mapping = _load(name, folder, PRESETS, LabelMapping)
    if mapping.report_terms in RULES:
        return mapping
    own_rules = (folder / name).parent / mapping.report_terms
    return replace(mapping, report_terms=str(own_rules))


def load_report_terms(name: str) -> ReportTerms:
    """The report rules that a mapping names.

    Raises:
        ConfigError: there are no such rules, or they cannot be used, with every reason.
    """
    return _load(name, Path(), RULES, ReportTerms)


def _load(name: str, folder: Path, presets: tuple[str, ...], schema: type[Config]) -> Config:
    if name in presets:
        with as_file(files("configs") / "labels" / f"{name}.yaml") as path:
            return load_config(path, schema)
    if not name.endswith(_ENDINGS):
        raise ConfigError(
            f"{name} is neither a YAML file nor one of {', '.join(presets)}: correct label_mapping in the "
            "hospital's profile, or report_terms in its mapping"
        )
    return load_config(folder / name, schema)
