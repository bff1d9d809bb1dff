"""What a hospital lets its reader accept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from federation.strict_yaml import STRICT
from model.conditioning import RACES, VIEWS

View = Literal["PA", "AP", "LATERAL", "OTHER"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadPolicy:
    """Which radiographs are used, and the limits within which files are read at all."""

    __pydantic_config__: ClassVar = STRICT

    views: tuple[View, ...] = ("PA", "AP", "LATERAL", "OTHER")
    """Views that are used. Where the header does not tell the view, the picture itself is asked whether
    it is lateral, if lateral ones are not wanted."""
    for_processing: bool = True
    """Whether raw detector pictures (DX for processing) are used, once made fit to look at."""
    secondary_capture: bool = True
    """Whether radiographs that were captured a second time (scanned, exported) are used."""
    synthetic: bool = False
    """Whether pictures are used that say they were made by a program. A model that learns from what models
    draw forgets what is rare."""
    min_age: int = 0
    """Years; radiographs of patients known to be younger are not used."""
    ethnic_groups: Mapping[str, str] = field(default_factory=dict)
    """The hospital's words for an ethnic group, in capitals -> asian, black, white or other. Without it
    the header's ethnic group is not read."""
    max_file_bytes: int = 256 * 2**20
    """Larger files are refused unread; also the most that a deflated file may inflate to."""
    max_pixels: int = 64_000_000
    """More rows times columns than this are refused before decoding."""

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError(f"views must name one or more of {', '.join(VIEWS)}")
        if not set(self.ethnic_groups.values()) <= set(RACES):
            raise ValueError(f"ethnic_groups must lead to {', '.join(RACES)}")
