"""Small JSON, from a file of this program or from the network, becomes one dataclass, and every key is checked."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from federation.strict_yaml import ConfigError, check_config

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Content = TypeVar("Content")


def parse_json(source: str, content: bytes, schema: type[Content]) -> Content:
    """JSON as the given dataclass.

    Raises:
        ConfigError: naming the source and every complaint.
    """
    return check_config(source, _parsed(source, content), schema)


def version_of(source: str, content: bytes) -> int:
    """The ``version`` that JSON says it is of; 0 if it says none.

    Raises:
        ConfigError: if it is not JSON.
    """
    parsed = _parsed(source, content)
    version = parsed.get("version") if isinstance(parsed, dict) else None
    return version if type(version) is int else 0


def to_json(content: "DataclassInstance") -> bytes:
    """A dataclass of plain values as JSON."""
    return (json.dumps(asdict(content), indent=1, default=str) + "\n").encode()


def _parsed(source: str, content: bytes) -> Any:  # noqa: ANN401  JSON holds anything
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"{source} is not JSON") from err
