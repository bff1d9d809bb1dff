"""Settings in layers: what the program has, below the file, below the environment, below what was typed.

A key at the top of a profile or a study that holds one plain value may also be given as ``FEDCXR_<KEY>`` in the
environment, or as ``--set KEY=VALUE`` behind `fedcxr`. Both are checked as if they stood in the file, and paths are
relative to it too. What was typed travels to the processes of the command in one variable.
"""

import json
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from federation.strict_yaml import ConfigError, check_config, lines_of, read_yaml

Config = TypeVar("Config")

PREFIX = "FEDCXR_"
TYPED = "FEDCXR_SET"
"""Holds what was typed behind ``--set``, a line each."""
READ_ELSEWHERE = frozenset(
    {
        *("FEDCXR_SITE", "FEDCXR_STATE", "FEDCXR_CACHE_KEY", "FEDCXR_IMAGE", "FEDCXR_SITES"),
        *("FEDCXR_COORDINATOR_STATE", "FEDCXR_MAX_SCRATCH", "FEDCXR_BUCKET", "FEDCXR_ROSTER"),
        *("FEDCXR_METRICS_PORT", "FEDCXR_MEMORY", "FEDCXR_GPU_MEMORY", TYPED),
    }
)
"""Variables of this program that are no settings of a file."""
PLAIN = (str, int, float, bool, Path, date)
USER_IN_URL = re.compile(r"(:/{1,2})[^/@\s]*@")


class Origin(StrEnum):
    """Where a setting comes from; a later one counts before an earlier one."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "env"
    FLAG = "flag"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting that counts."""

    key: str
    """As it stands in the file: ``stages.0.num_rounds``."""
    value: object
    origin: Origin
    place: str
    """``site.yaml:12``, the variable, or ``--set``; empty for a default."""


class WrongSetting(ValueError):
    """Something typed behind ``--set`` that sets nothing."""

    def __init__(self, typed: str, keys: Sequence[str]) -> None:
        super().__init__(
            f"--set {typed.partition('=')[0]} sets nothing: type --set KEY=VALUE with one of {', '.join(keys)}, or "
            "change the file"
        )


def load_layered(
    path: Path, schema: type[Config], environ: Mapping[str, str] = os.environ
) -> Config:
    """Read a file, with what the environment and the command line put over it.

    Raises:
        ConfigError: naming the file, whatever lies over it, every offending key, and what it should be.
    """
    content, over = read_yaml(path), _over(schema, environ)
    if not over or not isinstance(content, dict):
        return check_config(str(path), content, schema)
    places = ", ".join(place for _, place, _ in over.values())
    content = content | {key: value for key, (_, _, value) in over.items()}
    return check_config(f"{path} with {places}", content, schema)


def settings_of(
    path: Path, schema: type[Config], environ: Mapping[str, str] = os.environ
) -> list[Setting]:
    """Every setting that counts, and where it comes from.

    Raises:
        ConfigError: as for `load_layered`.
    """
    config = load_layered(path, schema, environ)
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError("settings are those of a dataclass")
    over, lines = _over(schema, environ), lines_of(path)
    return [
        _setting(key, value, over, lines, path.name) for key, value in _leaves(asdict(config), "")
    ]


def settings_text(settings: Sequence[Setting], *, with_origin: bool) -> str:
    """A line a setting, as YAML would have it on one line; with its origin in front if that is wanted."""
    lines = [f"{each.key}: {_as_yaml(each.value)}" for each in settings]
    if not with_origin:
        return "\n".join(lines)
    origins = [f"{each.origin} {each.place}".rstrip() for each in settings]
    width = max(map(len, origins), default=0)
    return "\n".join(
        f"{origin:<{width}}  {line}" for origin, line in zip(origins, lines, strict=True)
    )


def schema_of(path: Path, schemas: Sequence[type[Any]]) -> type[Any]:
    """Which of several kinds of file this one is, by its keys.

    Raises:
        ConfigError: if it is none of them.
    """
    content = read_yaml(path)
    keys = set(content) if isinstance(content, dict) else set()
    best = max(schemas, key=lambda schema: len(keys & _names(schema)))
    if not keys & _names(best):
        raise ConfigError(f"{path} is neither a hospital's profile nor a study: name one of these")
    return best


def keep_typed(typed: Sequence[str], schemas: Sequence[type[Any]]) -> None:
    """Have what was typed count, in this process and in those that it starts.

    Raises:
        WrongSetting: it is not ``KEY=VALUE``, or no such key can be set.
    """
    keys = sorted({key for schema in schemas for key in plain_keys(schema)})
    for each in typed:
        key, is_given, value = each.partition("=")
        if key not in keys or not is_given or not value or not value.isprintable():
            raise WrongSetting(each, keys)
    if typed:
        os.environ[TYPED] = "\n".join(typed)


def plain_keys(schema: type[Any]) -> list[str]:
    """Keys at the top that hold one plain value, and so can be set from outside the file."""
    hints = get_type_hints(schema)
    return [field.name for field in fields(schema) if _is_plain(hints[field.name])]


def unknown_variables(environ: Mapping[str, str], schemas: Sequence[type[Any]]) -> list[str]:
    """Variables that look like settings of this program, and are read by nothing."""
    known = {PREFIX + key.upper() for schema in schemas for key in plain_keys(schema)}
    return sorted(
        name for name in environ if name.startswith(PREFIX) and name not in known | READ_ELSEWHERE
    )


def _over(schema: type[Any], environ: Mapping[str, str]) -> dict[str, tuple[Origin, str, str]]:
    """What lies over the file: key -> (origin, place, value). An empty variable says nothing."""
    typed = dict(line.split("=", 1) for line in environ.get(TYPED, "").splitlines())
    over = {}
    for key in plain_keys(schema):
        variable = PREFIX + key.upper()
        if environ.get(variable):
            over[key] = (Origin.ENVIRONMENT, variable, environ[variable])
        if key in typed:
            over[key] = (Origin.FLAG, f"--set {key}", typed[key])
    return over


def _setting(
    key: str,
    value: object,
    over: Mapping[str, tuple[Origin, str, str]],
    lines: Mapping[str, int],
    file_name: str,
) -> Setting:
    if key in over:
        origin, place, _ = over[key]
    elif key in lines:
        origin, place = Origin.FILE, f"{file_name}:{lines[key]}"
    else:
        origin, place = Origin.DEFAULT, ""
    return Setting(key=key, value=_shown(value), origin=origin, place=place)


def _leaves(value: object, key: str) -> Iterator[tuple[str, object]]:
    """Plain values, and lists of plain values, with the way to them."""
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _leaves(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        for number, below in enumerate(value):
            yield from _leaves(below, f"{key}.{number}")
    else:
        yield key, value


def _shown(value: object) -> object:
    """A value as YAML has it; a name or a password in an address is not shown."""
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, Path | date | str):
        return USER_IN_URL.sub(r"\1***@", str(value))
    return value


def _as_yaml(value: object) -> str:
    return json.dumps(value) if not isinstance(value, str) or not value.isprintable() else value


def _is_plain(hint: object) -> bool:
    if get_origin(hint) in {Union, types.UnionType}:
        return all(_is_plain(each) for each in get_args(hint) if each is not type(None))
    return hint in PLAIN or get_origin(hint) is Literal


def _names(schema: type[Any]) -> set[str]:
    return {field.name for field in fields(schema)}
