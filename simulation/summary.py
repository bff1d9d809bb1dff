"""What a simulation showed, as facts and as the lines it ends with."""

from dataclasses import asdict, dataclass
from pathlib import Path

from federation.terminal import program, shown
from simulation.compare import Comparison

UNTRAINED = "before training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The end of a simulation."""

    name: str
    out: Path
    seconds: float
    comparison: Comparison
    judged_on: str = "balanced held-out radiographs"
    """What the losses were measured on; no hospital has it."""

    @property
    def beats_best_alone(self) -> bool | None:
        """Whether the federated model is better than every hospital by itself; None if none trained."""
        best = self.comparison.best_alone
        return None if best is None else self.comparison.federated < self.comparison.alone[best]

    def rows(self) -> list[tuple[str, float]]:
        """Every model with its held-out loss, best first."""
        result = self.comparison
        rows = [(f"{name} alone", loss) for name, loss in result.alone.items()]
        rows += [("federated", result.federated), (UNTRAINED, result.untrained)]
        if result.pooled is not None:
            rows.append(("pooled data", result.pooled))
        if result.adapted is not None:
            rows.append(("federated, with adapter", result.adapted))
        return sorted(rows, key=lambda row: row[1])

    def facts(self) -> dict[str, object]:
        """For programs."""
        return {
            "name": self.name,
            "out": str(self.out),
            "seconds": round(self.seconds, 1),
            "losses": asdict(self.comparison),
            "federated_beats_best_alone": self.beats_best_alone,
            "share_of_pooled_gain": self.comparison.share_of_pooled_gain,
            "share_of_way_to_pooled": self.comparison.share_of_way_to_pooled,
        }

    def text(self) -> str:
        """For people: what was proved, what there is to see, what to type next."""
        lines = [
            "",
            f"Loss on {self.judged_on} that no hospital has (lower is better):",
        ]
        lines += [f"  {loss:8.4f}  {name}" for name, loss in self.rows()]
        lines += [
            "",
            self.verdict(),
            f"All of it took {self.seconds:.0f} s. Look at:",
            f"  {shown(self.out / 'report.html')}",
            f"  {shown(self.out / 'samples.png')}",
            "Then try:",
            *(f"  {program()} {command}" for command in self.next_commands()),
        ]
        return "\n".join(lines)

    def next_commands(self) -> list[str]:
        """What a person may want to type next."""
        adapter = f" --adapter {shown(self.out / 'adapter')}" if self.comparison.adapted else ""
        wish = "--age 70 --sex F --view AP --finding pleural_effusion=present"
        return [
            f"generate {shown(self.out / 'model')}{adapter} {wish}",
            f"coordinator status --state {shown(self.out / 'coordinator')}",
            "model table",
        ]

    def verdict(self) -> str:
        """Whether federating paid, in one sentence."""
        result = self.comparison
        if result.best_alone is None:
            reached = result.federated if result.adapted is None else result.adapted
            gain = 100 * (1 - reached / result.untrained)
            return f"Training took {gain:.1f} % off the loss that the study began with."
        best = result.alone[result.best_alone]
        gain = 100 * (1 - result.federated / best)
        word = "lower" if gain > 0 else "higher"
        sentence = (
            f"Federated, the loss is {abs(gain):.1f} % {word} than that of the best hospital alone "
            f"({result.best_alone})"
        )
        share = result.share_of_way_to_pooled
        return (
            f"{sentence}."
            if share is None
            else f"{sentence}: {100 * share:.0f} % of the way to pooling all data."
        )
