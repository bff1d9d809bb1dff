"""One radiograph of a public set, in the words of the model: what every set's reader yields."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicRecord:
    """A picture and what the set's own tables say of it; None where they say nothing usable."""

    picture: Path
    """PNG, JPEG or DICOM file; it may turn out to be missing."""
    patient: str
    """The set's own pseudonym."""
    study: str
    """The set's own name of the examination; unique for the patient."""
    instance: str
    """The set's own name of the picture; unique for the patient."""
    label_key: str
    """What the set's label table calls this picture or its examination."""
    view: str | None = None
    """PA, AP, LATERAL or OTHER."""
    age: float | None = None
    """Years at the time of the radiograph, 0 to 120."""
    sex: str | None = None
    """F or M."""
    race: str | None = None
    """asian, black, white or other."""
    manufacturer: str | None = None
    """Maker of the machine, by name or by the set's code."""
    modality: str = "DX"
    """CR or DX; DX, digital radiography, where the set does not tell them apart."""
    pixel_aspect: float = 1.0
    """Height of a pixel divided by its width; not 1 where a set has distorted its pictures."""
    findings: Mapping[str, str] = field(default_factory=dict)
    """Finding -> state; findings left out are unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicSet:
    """How one public set lies on the disk after it was downloaded and unpacked."""

    name: str
    """What to type for it; also the name of the label mapping."""
    title: str
    """What its authors call it."""
    terms: str
    """What to cite and what to keep to, in a sentence or two."""
    records: Callable[[Path], Iterator[PublicRecord]]
    """Streams the radiographs of a folder, without their findings."""
    label_tables: Callable[[Path], tuple[Path, ...]]
    """Tables of a folder that tell findings; none for a set without."""


class WrongFolder(ValueError):
    """The source is not the public set that was named."""

    def __init__(self, source: Path, *, title: str, missing: str, layout: str) -> None:
        super().__init__(
            f"{source} does not look like {title}: there is no {missing}. Name the folder that holds {layout}."
        )
