"""How long a round of the study takes here: what travels at the line's speed, and the arithmetic at this machine's."""

import time

from client.control.limits import Limits
from client.doctor.hospital import Hospital
from client.doctor.needs import Needs, needs_of
from client.doctor.speed import Speed, megabits
from federation.diagnosis import Finding, Job, ok, skipped, warn

PROBE_SIDE = 768
PROBE_SECONDS = 0.4
USUAL_SHARE = 0.35
"""Of what matrix products alone reach, training reaches about so much."""
LINES = (12_500_000.0, 1_250_000.0)
"""Bytes a second that a round is told for where the line could not be measured."""


def round_time(hospital: Hospital) -> Finding:
    """Is a round done before the coordinator closes it?"""
    study, limits = hospital.study, hospital.site.limits
    if study is None:
        return skipped("no study is known yet; name one with --study")
    needs = needs_of(study, hospital.site)
    training = needs.round_flops / (USUAL_SHARE * measured_flops(hospital.site.num_threads))
    travel, how = _travel(needs, limits, hospital.speed())
    shown = (
        f"about {_minutes(training)} of training and {_minutes(travel)} on the line ({how}): "
        f"{needs.bytes_down / 1e6:.0f} MB in, {needs.bytes_up / 1e6:.0f} MB out"
    )
    if training + travel > study.rounds.deadline_seconds:
        return warn(
            f"{shown}; the coordinator waits {_minutes(study.rounds.deadline_seconds)}",
            Job.COORDINATOR,
            "raise rounds.deadline_seconds, or ask for fewer local_steps",
        )
    return ok(shown)


def measured_flops(num_threads: int) -> float:
    """Multiplications and additions a second of matrix products, as training would have them here."""
    import torch  # noqa: PLC0415  a second, where it is needed alone

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    square = torch.ones(PROBE_SIDE, PROBE_SIDE, device=device)
    share = 1.0 if device.type == "cuda" else min(1.0, num_threads / torch.get_num_threads())
    started, count = time.monotonic(), 0
    while time.monotonic() - started < PROBE_SECONDS:
        float((square @ square)[0, 0])
        count += 1
    return share * count * 2 * PROBE_SIDE**3 / (time.monotonic() - started)


def _travel(needs: Needs, limits: Limits, speed: Speed | str) -> tuple[float, str]:
    """Seconds on the line, and how that is known."""
    limited = _moving(
        needs, down=limits.download_bytes_per_second, up=limits.upload_bytes_per_second
    )
    if isinstance(speed, str):
        fast, slow = (max(limited, _moving(needs, down=line, up=line)) for line in LINES)
        return fast, f"at {megabits(LINES[0])}; {_minutes(slow)} at {megabits(LINES[1])}"
    measured = f"measured: {megabits(speed.down)} in, {megabits(speed.up)} out"
    return max(limited, _moving(needs, down=speed.down, up=speed.up)), measured


def _moving(needs: Needs, *, down: float | None, up: float | None) -> float:
    """Seconds; no limit takes no time."""
    return (needs.bytes_down / down if down else 0.0) + (needs.bytes_up / up if up else 0.0)


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
