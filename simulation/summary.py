"""What a simulation showed, as facts and as the lines it ends with."""

from dataclasses import asdict, dataclass
from pathlib import Path

from simulation.compare import Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The end of a simulation."""

    name: str
    out: Path
    seconds: float
    comparison: Comparison

    @property
    def beats_best_alone(self) -> bool:
        """Whether the federated model is better than every hospital by itself."""
        return self.comparison.federated < self.comparison.alone[self.comparison.best_alone]

    def rows(self) -> list[tuple[str, float]]:
        """Every model with its held-out loss, best first."""
        result = self.comparison
        rows = [(f"{name} alone", loss) for name, loss in result.alone.items()]
        rows += [("pooled data", result.pooled), ("federated", result.federated)]
        rows += [("untrained", result.untrained)]
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
        }

    def text(self) -> str:
        """For people: what was proved, what there is to see, what to type next."""
        lines = [
            "",
            "Loss on balanced held-out radiographs that no hospital has (lower is better):",
        ]
        lines += [f"  {loss:8.4f}  {name}" for name, loss in self.rows()]
        lines += [
            "",
            self.verdict(),
            f"All of it took {self.seconds:.0f} s. Look at:",
            f"  {self.out / 'report.html'}",
            f"  {self.out / 'samples.png'}",
            "Then try:",
            f"  {self.next_command()}",
            f"  fedcxr coordinator status --state {self.out / 'coordinator'}",
            "  fedcxr model table",
        ]
        return "\n".join(lines)

    def next_command(self) -> str:
        """Draws what the model has learnt."""
        folders = f"{self.out / 'model'} --adapter {self.out / 'adapter'}"
        return f"fedcxr generate {folders} --age 70 --sex F --view AP --finding pleural_effusion=present"

    def verdict(self) -> str:
        """Whether federating paid, in one sentence."""
        result = self.comparison
        best = result.alone[result.best_alone]
        gain = 100 * (1 - result.federated / best)
        word = "lower" if gain > 0 else "higher"
        return (
            f"Federated, the loss is {abs(gain):.1f} % {word} than that of the best hospital alone "
            f"({result.best_alone}), and {100 * result.share_of_pooled_gain:.0f} % of what pooling all data "
            f"would gain over no training."
        )
