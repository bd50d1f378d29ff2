"""What `blend` makes of cues whose worth is known: published judgements, simulated features.

    python benchmarks/blend.py EPIC-Skills2018/ --draws 24

takes the judgements and the published folds of EPIC-Skills Surgery. The skill of a video is its
Bradley-Terry score from all judgements of its task. Durations, pooled statistics and the scores of
networks are drawn: each says as much of the skill as the scenario gives it, and the rest is noise
that videos of a task and of a surgeon share. Printed are the pairs in the right order, in per cent,
of all test pairs and of those of two unseen videos, with the standard error over draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair, videos_of
from data.judgements.reading import read_dataset
from model.ranker.combination import combine, standard_by_pairs
from model.ranker.pairwise import Array, Rows, fit_kernel, renumber
from model.ranker.pooled import fit_pooled
from model.ranker.scoring import pair_accuracy
from pipeline.runs.maps import pair_rows

FEATURES = 400
#: Variance of the scores' prior, from which the videos' skills come.
SKILL_PRIOR = 3.0


@dataclass(frozen=True)
class Scenario:
    """How much of the skill log duration, a network and pooled features say."""

    name: str
    duration: float
    network: float
    pooled: float


SCENARIOS = (
    Scenario("length tells most", 0.57, 0.12, 0.038),
    Scenario("length says nothing", 0.0, 0.12, 0.038),
    Scenario("features tell most", 0.2, 0.2, 0.07),
    Scenario("all tell something", 0.35, 0.2, 0.05),
)


@dataclass(frozen=True)
class Cues:
    """What is known of each video: log duration (V,), statistics (V, F), networks' scores (V,).

    `honest` are scores by networks that have not seen a training video, `usual` those that a new
    video gets, from several of them.
    """

    duration: Array
    pooled: Array
    honest: Array
    usual: Array


class World:
    """Videos, skills and folds of the published judgements."""

    def __init__(self, folder: Path) -> None:
        data = read_dataset(folder, DatasetOptions(task="surgery"))
        self.keys = videos_of(data.pairs)
        self.folds = [(self.rows(fold.train), self.rows(fold.test)) for fold in data.folds]
        _, self.task = np.unique([data.tasks[key] for key in self.keys], return_inverse=True)
        groups = data.groups or {}
        _, self.surgeon = np.unique([groups[key] for key in self.keys], return_inverse=True)
        prior = SKILL_PRIOR * np.eye(len(self.keys))
        self.skill = self.within_task(prior @ fit_kernel(prior, self.rows(data.pairs)))

    def rows(self, pairs: Sequence[Pair]) -> Rows:
        """Return pairs as rows of the videos, (P, 2)."""
        return pair_rows(pairs, self.keys).numpy()

    def within_task(self, x: Array) -> Array:
        """Standardise x (V,) in each task."""
        for task in np.unique(self.task):
            own = self.task == task
            x[own] = (x[own] - x[own].mean()) / x[own].std()
        return x

    def noise(self, rng: np.random.Generator) -> Array:
        """Return unit noise (V,), half of whose variance videos of a surgeon and task share."""
        shared = rng.standard_normal((self.task.max() + 1, self.surgeon.max() + 1))
        own = rng.standard_normal(len(self.keys))
        return self.within_task((shared[self.task, self.surgeon] + own) / np.sqrt(2))

    def draw(self, scenario: Scenario, rng: np.random.Generator) -> Cues:
        """Draw cues that say as much of the skill as the scenario gives them."""

        def telling(worth: float, noise: Array) -> Array:
            return worth * self.skill + np.sqrt(1 - worth**2) * noise

        task, surgeon = self.task, self.surgeon
        shape = (task.max() + 1, surgeon.max() + 1, FEATURES)
        pooled = (
            rng.standard_normal(shape)[task, 0]
            + 0.6 * rng.standard_normal(shape)[task, surgeon]
            + 0.5 * rng.standard_normal(shape)[0, surgeon]
            + 0.7 * rng.standard_normal((len(self.keys), FEATURES))
            + scenario.pooled * np.outer(self.skill, rng.standard_normal(FEATURES))
        )
        common = self.noise(rng)
        single, several = (0.7 * (common + part * self.noise(rng)) for part in (1.0, 0.45))
        return Cues(
            duration=telling(scenario.duration, self.noise(rng)) + 0.5 * task,
            pooled=pooled,
            honest=telling(scenario.network, single),
            usual=telling(scenario.network, several),
        )


def _standardised(x: Array, seen: Rows, pairs: Rows) -> Array:
    columns = x.reshape(len(x), -1)
    mean, scale = standard_by_pairs(columns[seen], pairs)
    return ((columns - mean) / scale).reshape(x.shape)


def _length(cues: Cues, train: Rows) -> Array:
    return cues.duration


def _pooled(cues: Cues, train: Rows) -> Array:
    return fit_pooled(cues.pooled, train).score(cues.pooled)


def _network(cues: Cues, train: Rows) -> Array:
    return cues.usual


def _added(cues: Cues, train: Rows) -> Array:
    seen = np.unique(train)
    each = (judge(cues, train) for judge in (_length, _pooled, _network))
    return np.sum([(x - x[seen].mean()) / x[seen].std() for x in each], axis=0)


def _blend(cues: Cues, train: Rows) -> Array:
    seen = np.unique(train)
    pairs = renumber(train, seen)
    network = cues.usual.copy()
    network[seen] = cues.honest[seen]
    network, pooled, duration = (
        _standardised(x, seen, pairs) for x in (network, cues.pooled, cues.duration)
    )
    fitted = combine(network[seen], pooled[seen], duration[seen], pairs)
    scores = fitted.network * network + pooled @ fitted.pooled + fitted.duration * duration
    scores[seen] = fitted.score
    return np.asarray(scores)


JUDGES: dict[str, Callable[[Cues, Rows], Array]] = {
    "length": _length,
    "network": _network,
    "pooled": _pooled,
    "standardised and added": _added,
    "blend": _blend,
}


def accuracy(world: World, judge: Callable[[Cues, Rows], Array], cues: Cues) -> tuple[float, float]:
    """Return the shares of all test pairs and of those of two unseen videos, mean over folds."""
    shares = []
    for train, test in world.folds:
        scores = judge(cues, train)
        unseen = test[~np.isin(test, train).any(axis=1)]
        shares.append((pair_accuracy(scores, test), pair_accuracy(scores, unseen)))
    every, unseen_share = np.mean(shares, axis=0)
    return float(every), float(unseen_share)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the data set's folder")
    parser.add_argument("--draws", type=int, default=24)
    options = parser.parse_args()
    world = World(options.folder)
    for scenario in SCENARIOS:
        draws = [world.draw(scenario, np.random.default_rng(seed)) for seed in range(options.draws)]
        for name, judge in JUDGES.items():
            figures = 100 * np.array([accuracy(world, judge, cues) for cues in draws])
            mean, error = figures.mean(axis=0), figures.std(axis=0, ddof=1) / len(draws) ** 0.5
            print(
                f"{scenario.name:20}  {name:22}  {mean[0]:.1f} ± {error[0]:.1f}  "
                f"{mean[1]:.1f} ± {error[1]:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
