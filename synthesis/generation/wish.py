"""What a person asks for, in words, as the model's condition."""

from dataclasses import dataclass

from model.conditioning import FINDING_STATES, SEXES, VIEWS, Metadata, Schema


class UnknownWish(ValueError):
    """The model knows no such attribute or value."""

    def __init__(self, given: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"{given!r} is not something this model knows: give one of {', '.join(known)}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the radiographs shall show; None and what is left out stay open."""

    age: float | None = None
    sex: str | None = None
    view: str | None = None
    findings: tuple[str, ...] = ()
    """Each ``name=state``."""

    def metadata(self, schema: Schema) -> Metadata:
        """The wish in the model's terms.

        Raises:
            UnknownWish: naming what is not known and what is.
        """
        for value, known in ((self.sex, SEXES), (self.view, VIEWS)):
            if value is not None and value not in known:
                raise UnknownWish(value, known)
        findings = {}
        for text in self.findings:
            name, _, state = text.partition("=")
            if name not in schema.findings:
                raise UnknownWish(name, schema.findings)
            if state not in FINDING_STATES:
                raise UnknownWish(state, FINDING_STATES)
            findings[name] = state
        return Metadata(
            age=self.age,
            sex=self.sex,
            view=self.view,
            race=None,
            site=None,
            manufacturer=None,
            findings=findings,
        )
