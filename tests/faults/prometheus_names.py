"""What Prometheus' own guide asks of names (prometheus.io/docs/practices/naming), of a whole page of metrics."""

import re

NAME = re.compile(r"fedcxr(_[a-z]+)+")
OTHER_UNITS = {"ms", "milliseconds", "minutes", "hours", "days", "kb", "mb", "megabytes", "percent"}
RESERVED = ("_count", "_sum", "_bucket")


def against_the_guide(page: str) -> list[str]:
    """Every name that is not as it should be, and why."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", page, re.MULTILINE))
    found = [f"{name}: no type" for name in _sampled(page) - kinds.keys()]
    for name, kind in kinds.items():
        if not NAME.fullmatch(name) or name.endswith(RESERVED) or OTHER_UNITS & {*name.split("_")}:
            found.append(f"{name}: name")
        if (kind == "counter") is not name.endswith("_total"):
            found.append(f"{name}: {kind}")
        if not helps.get(name, "").endswith("."):
            found.append(f"{name}: no sentence")
    return found


def _sampled(page: str) -> set[str]:
    lines = (line for line in page.splitlines() if line and not line.startswith("#"))
    return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in lines}
