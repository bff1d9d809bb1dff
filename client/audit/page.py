"""The audit on one page of paper, for a data-protection officer; a single file without scripts."""

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, select_autoescape

from client.audit.report import Facts

MAX_ROUNDS = 4
"""Updates on the page; audit.json lists all."""


def render_page(facts: Facts) -> str:
    """The same facts give the same page."""
    environment = Environment(
        loader=PackageLoader("client"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["size"] = _size
    return environment.get_template("audit.html").render(
        facts=facts,
        claim=facts["claim"],
        shown=facts["sent"][-MAX_ROUNDS:],
        hidden=max(0, len(facts["sent"]) - MAX_ROUNDS),
        steps=_steps(facts["claim"]),
    )


def _number(value: float | None) -> str:
    """An epsilon; None is one that nobody can bound."""
    return "without bound" if value is None else f"{value:.2f}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.1f} kB"


def _steps(claim: Mapping[str, list[Mapping[str, float]]] | None) -> str:
    """The phases of the study and the constants that go with them, in a line."""
    if claim is None or not claim["phases"]:
        return ""
    phases = [
        f"{phase['num_steps']} steps with noise multiplier {phase['noise_multiplier']:g} at sample rate {phase['sample_rate']:g}"
        for phase in claim["phases"]
    ]
    terms = [
        f"clipped to {term['max_grad_norm']:g}, divided by {term['batch_size']}, {term['local_steps']} steps a round, "
        f"at most {term['max_images']} radiographs of a patient with {term['num_draws']} noise draws each"
        for term in claim["terms"]
    ]
    return "; ".join(phases + terms)
