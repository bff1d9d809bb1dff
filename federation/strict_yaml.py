"""The only reader of YAML: one file becomes one dataclass, and every key is checked.

A key that nothing reads is an error, and so is one that stands twice, so that a typing mistake never becomes a
silently different study.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

Config = TypeVar("Config")

_CHECKERS: dict[type, TypeAdapter[Any]] = {}

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""For ``__pydantic_config__`` of every dataclass that is read from a file."""


class UniqueKeys(yaml.SafeLoader):
    """Plain YAML, in which a key that stands twice in one place is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        """Build one mapping, unless a key repeats."""
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.MarkedYAMLError(problem="repeated key", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


class ConfigError(ValueError):
    """A configuration file that cannot be used as it stands."""


def load_config(path: Path, schema: type[Config]) -> Config:
    """Read one YAML file as the given dataclass.

    Raises:
        ConfigError: naming the file and every complaint, one a line.
    """
    return check_config(str(path), read_yaml(path), schema)


def read_yaml(path: Path) -> Any:  # noqa: ANN401  YAML holds anything
    """What a file says, not looked at yet.

    Raises:
        ConfigError: if it cannot be read, or is no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)  # noqa: S506  a safe loader
    except OSError as err:
        raise ConfigError(
            f"{path} cannot be read ({err.strerror}): check the name you typed"
        ) from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        where = getattr(err, "problem_mark", None)
        problem = getattr(err, "problem", None) or "cannot be read"
        line = f" (line {where.line + 1}: {problem})" if where else ""
        raise ConfigError(f"{path} is not valid YAML{line}: mend it, then try again") from err


def lines_of(path: Path) -> dict[str, int]:
    """Every key that stands in a file, as ``stages.0.kind``, and the line it stands in, from 1.

    Raises:
        ConfigError: if it cannot be read, or is no YAML.
    """
    read_yaml(path)
    return dict(_lines_of(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), ""))


def _lines_of(node: yaml.Node | None, above: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line + 1
            yield from _lines_of(value, f"{above}{key.value}.")
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield f"{above}{number}", value.start_mark.line + 1
            yield from _lines_of(value, f"{above}{number}.")


def dump_yaml(content: object) -> str:
    """Plain data as YAML, in the order given."""
    return yaml.safe_dump(content, sort_keys=False)


def check_config(source: str, content: Any, schema: type[Config]) -> Config:  # noqa: ANN401  YAML holds anything
    """Plain content as the given dataclass.

    Raises:
        ConfigError: naming the source and every complaint, one a line.
    """
    try:
        return checker(schema).validate_python(content)
    except ValidationError as err:
        problems = (f"  {_place(e['loc'])}: {e['msg']}" for e in err.errors())
        raise ConfigError("\n".join([f"{source} cannot be used:", *problems])) from err


def checker(schema: type[Config]) -> TypeAdapter[Config]:
    """What checks plain content; making it takes longer than using it, so a process makes each once."""
    if schema not in _CHECKERS:
        _CHECKERS[schema] = TypeAdapter(schema)
    return _CHECKERS[schema]


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"
