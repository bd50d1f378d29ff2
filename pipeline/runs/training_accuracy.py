"""Training accuracy, which has one meaning, and the warning that goes with a low one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data.judgements.pairs import Pair

# Share of training pairs below which a ranker is not trained to the end. Ours: trained ones reach
# 95 % and more, see docs/accuracy.md.
TRAINED = 0.9


def training_accuracy(scores: Mapping[str, float], fitted: Sequence[Pair]) -> float:
    """Return the share of the fitted pairs that the finished ranker puts in the right order.

    This is what "training accuracy" means in every output: of the pairs that the ranker was fitted
    to, without those kept for validation; with the weights of the chosen epoch; by the scores of a
    test, on the snippets that a test sees; ties count as wrong. It says whether training went far
    enough, and nothing about other videos. (``train_accuracy`` in metrics.csv is a running figure
    of one epoch, on the snippets drawn in it and before its steps.)
    """
    return sum(scores[pair.better] > scores[pair.worse] for pair in fitted) / len(fitted)


def undertrained(preset: str, accuracy: float) -> str:
    """Return a line if a published preset has hardly trained; else nothing.

    Published presets trained ConvFusion with the ranker. On frozen features the ranker alone has
    4 % of these weights, and few small steps leave it near its start.
    """
    if preset == "small" or accuracy >= TRAINED:
        return ""
    return (
        f"training pairs are only {100 * accuracy:.0f} % right: on frozen features --preset "
        f"{preset} ends before the ranker is trained; the defaults (--preset small) train to the "
        "end, --epochs trains longer"
    )
