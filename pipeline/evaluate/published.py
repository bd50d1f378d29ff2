"""Pair accuracies that others published, in per cent: shown next to ours and labelled."""

from __future__ import annotations

SOURCE = "Li, Huang, Cai, Sato, ICCV Workshops 2019, table 2"

_SETS = ("chopstick", "surgery", "drawing", "dough", "infant-grasp")
_TABLE = {
    "no_att": (82.1, 68.3, 82.8, 77.3, 84.0),
    "fc_att": (84.1, 70.8, 82.4, 82.0, 85.1),
    "only_x": (84.1, 70.1, 83.4, 81.8, 85.3),
    "only_htop": (82.8, 69.1, 84.8, 81.6, 84.7),
    "full": (85.5, 73.1, 85.3, 82.7, 86.1),
}
PAPER = {variant: dict(zip(_SETS, numbers, strict=True)) for variant, numbers in _TABLE.items()}


def accuracy(variant: str, known: str | None) -> float | None:
    """Return the paper's pair accuracy of a variant on a data set, where it gives one."""
    return PAPER.get(variant, {}).get(known or "")


def notes(known: str | None) -> list[str]:
    """Return further published numbers about a data set, each labelled."""
    if known == "best":
        return ["published: RAAN's average over BEST's five tasks is 81.2 (Doughty et al. 2019)"]
    if known in ("chopstick", "surgery", "drawing", "dough"):
        return [
            f"published: {SOURCE}; there the epoch was chosen on the test pairs",
            "published: RAAN's average over EPIC-Skills is 80.3 (Doughty et al. 2019)",
        ]
    if known is not None:
        return [f"published: {SOURCE}; there the epoch was chosen on the test pairs"]
    return []
