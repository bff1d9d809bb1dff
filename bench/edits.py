"""How well a model edits, where the truth is known: phantoms that differ in exactly one attribute.

`python bench/edits.py MODEL` edits one picture of each pair with every method and prints gain, cosine, error inside
and outside the true region, error to the truth, and error after editing back; `--json FILE` keeps them, by edit too.
The patients occur in no simulated hospital.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from model.editing.settings import (
    USUAL_EDIT,
    EditSettings,
    FlowEdit,
    Inversion,
    RFInversion,
    SDEdit,
)
from model.generate import open_generator
from model.guidance import NO_GUIDANCE
from simulation.edit_measures import (
    by_edit,
    edit_qualities,
    heading,
    mean_quality,
    row,
    table,
    untouched_qualities,
)
from simulation.edit_pairs import draw_pairs

METHODS: dict[str, EditSettings | None] = {
    "no edit": None,
    "SDEdit .4": SDEdit(share=0.4),
    "SDEdit .7": SDEdit(share=0.7),
    "inversion, Euler": Inversion(order=1),
    "inversion, midpoint": Inversion(order=2),
    "RF-inversion": RFInversion(),
    "FlowEdit, no guidance": FlowEdit(guidance=NO_GUIDANCE, faint=0.0),
    "FlowEdit, usual guidance": FlowEdit(away_from="nothing", faint=0.0),
    "FlowEdit, attribute-local": FlowEdit(away_from="unset", faint=0.0),
    "FlowEdit, contrast": FlowEdit(faint=0.0),
    "FlowEdit, contrast, without the faint (default)": USUAL_EDIT,
}
WIDTH = max(map(len, METHODS))


def main() -> None:
    """Edit, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a model trained on phantoms")
    parser.add_argument("--patients", type=int, default=6, help="identities; 17 edits of each")
    parser.add_argument("--seed", type=int, default=0, help="of patients and edits")
    parser.add_argument("--json", type=Path, help="file for the figures, also by edit")
    chosen = parser.parse_args()
    generator = open_generator(chosen.model)
    pairs = list(
        draw_pairs(
            generator.schema,
            generator.image_size,
            num_patients=chosen.patients,
            seed=chosen.seed,
        )
    )
    print(f"{len(pairs)} pairs of {chosen.patients} patients; brightness runs from -1 to 1")
    print(heading(WIDTH))
    means, details = {}, {}
    for name, settings in METHODS.items():
        qualities = (
            untouched_qualities(pairs)
            if settings is None
            else edit_qualities(generator, pairs, settings, seed=chosen.seed)
        )
        means[name] = mean_quality(qualities)
        details[name] = by_edit(pairs, qualities)
        print(row(name, means[name], WIDTH), flush=True)
    print(f"\nby edit, {name}:\n{table(details[name])}")
    if chosen.json:
        facts = {
            "patients": chosen.patients,
            "seed": chosen.seed,
            "methods": {name: asdict(quality) for name, quality in means.items()},
            "by_edit": {
                name: {edit: asdict(quality) for edit, quality in edits.items()}
                for name, edits in details.items()
            },
        }
        chosen.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
