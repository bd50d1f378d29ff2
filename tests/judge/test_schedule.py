"""Which pair comes next, by the page's own script: few comparisons, hidden repeats."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.judge.pairs import least_sure_pairs, random_pairs
from pipeline.judge.settings import JudgeSettings, Length
from tests.helpers.browser import browser
from tests.helpers.places import ROOT
from tests.helpers.report_html import BROWSER

NODE = shutil.which("node")
TEMPLATES = ROOT / "pipeline" / "judge" / "templates"

# Judges of a known order: `wrong` of their answers are slips, whatever the pair.
SIMULATE = """
function simulate(n, count, wrong, seed, plan) {
  var draw = Schedule.random("judge" + seed);
  var truth = Array.from({ length: n }, draw);
  var set = { n: n, seed: seed, judge: "J", repeatEvery: 10, plan: plan || null };
  var history = [];
  var repeats = 0;
  for (var i = 0; i < count; i += 1) {
    var pair = Schedule.next(set, history);
    if (!pair) { break; }
    repeats += pair.repeat ? 1 : 0;
    var left = truth[pair.left] > truth[pair.right];
    if (draw() < wrong) { left = !left; }
    history.push(left ? { better: pair.left, worse: pair.right }
                      : { better: pair.right, worse: pair.left });
  }
  return { truth: truth, history: history, repeats: repeats,
           strength: Array.from(Schedule.fit(n, history).strength) };
}
"""


def run_script(expression: str, folder: Path) -> Any:
    """Return the value of an expression over the page's schedule, in Node or in the browser."""
    source = (TEMPLATES / "schedule.js").read_text(encoding="utf-8") + SIMULATE
    if NODE is not None:
        script = f"{source}; console.log(JSON.stringify({expression}));"
        done = subprocess.run([NODE, "-e", script], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    if BROWSER is None:
        pytest.skip("neither Node nor Chromium or Chrome is installed")
    with browser(folder / "profile") as tab:
        return tab.js(f"(function () {{ {source}; return {expression}; }}())")


def tau(strength: list[float], truth: list[float]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(strength, truth).statistic)


def test_forty_videos_are_ordered_in_the_comparisons_that_the_command_announces(
    tmp_path: Path,
) -> None:
    """A judge whose tenth answer is wrong works for hours, and the order is not worth them."""
    length = Length.of(40, JudgeSettings(), None)
    assert length.comparisons <= 250
    judges = run_script(
        f"[0, 1, 2, 3].map(function (seed) {{"
        f"return simulate(40, {length.comparisons}, 0.1, seed); }})",
        tmp_path,
    )
    reached = [tau(each["strength"], each["truth"]) for each in judges]
    # 60 such judges reached .907 on average, the worst .803.
    assert np.mean(reached) >= 0.85
    assert min(reached) >= 0.8
    assert {each["repeats"] for each in judges} == {length.repeats}


def test_pairs_drawn_at_random_take_more(tmp_path: Path) -> None:
    """The adaptive order costs code and time in the page; it must beat the plain schedule."""
    plan = random_pairs(40, 213, 0)
    adaptive, plain = run_script(
        f"[simulate(40, 236, 0.1, 3), simulate(40, 236, 0.1, 3, {json.dumps(plan)})]", tmp_path
    )
    assert tau(adaptive["strength"], adaptive["truth"]) > 0.05 + tau(
        plain["strength"], plain["truth"]
    )


def test_a_page_that_is_opened_again_goes_on_with_the_same_pair(tmp_path: Path) -> None:
    """After a reload, or an undo, another pair would come than the judge was looking at."""
    same, other = run_script(
        "(function () { var h = simulate(9, 17, 0, 1).history;"
        "function at(judge) { return h.map(function (_, i) { return Schedule.next("
        "{ n: 9, seed: 1, judge: judge, repeatEvery: 5, plan: null }, h.slice(0, i)); }); }"
        "return [[at('J'), at('J')], at('K')]; }())",
        tmp_path,
    )
    assert same[0] == same[1]
    assert same[0] != other
    first = [{frozenset((each["left"], each["right"])) for each in few[:4]}
             for few in (same[0], other)]  # fmt: skip
    assert first[0] == first[1]  # All judges see the first round: they can be compared.


def test_no_pair_comes_twice_except_as_a_repeat(tmp_path: Path) -> None:
    """A pair that was skipped, or judged, would come again at once."""
    history, end = run_script(
        "(function () { var h = []; var set = { n: 5, seed: 0, judge: '', repeatEvery: 0,"
        " plan: null }; var pair;"
        "while ((pair = Schedule.next(set, h))) { h.push({ better: pair.left, worse: pair.right,"
        " skip: h.length % 2 === 1 }); } return [h, Schedule.next(set, h)]; }())",
        tmp_path,
    )
    assert len({frozenset((each["better"], each["worse"])) for each in history}) == 10
    assert len(history) == 10
    assert end is None


def test_repeats_come_late_and_only_once(tmp_path: Path) -> None:
    """A repeat right after the first time measures memory; a third time measures nothing."""
    history = run_script("simulate(12, 47, 0.1, 5).history", tmp_path)
    seen: dict[frozenset[int], list[int]] = {}
    for number, each in enumerate(history):
        seen.setdefault(frozenset((each["better"], each["worse"])), []).append(number)
    again = [places for places in seen.values() if len(places) > 1]
    assert len(again) == 4
    assert all(len(places) == 2 and places[1] - places[0] >= 6 for places in again)


def test_the_number_of_comparisons_grows_as_in_sorting() -> None:
    """An announced number that is too large sends the judge away."""
    settings = JudgeSettings()
    assert [Length.of(n, settings, None).pairs for n in (2, 3, 10, 40, 100)] == [1, 3, 33, 213, 664]
    assert Length.of(40, settings, 18) == Length(pairs=18, repeats=2)
    assert Length.of(40, JudgeSettings(repeat_every=0), None).repeats == 0


def test_random_pairs_use_every_video_about_equally_often() -> None:
    """A video that is never compared has no place in the order."""
    pairs = random_pairs(9, 18, 1)
    counts = np.bincount(np.ravel(pairs), minlength=9)
    assert len(set(map(frozenset, pairs))) == 18
    assert counts.min() >= 3
    assert counts.max() <= 5
    assert pairs != random_pairs(9, 18, 2)
    assert len(random_pairs(4, 99, 0)) == 6


def test_least_sure_pairs_are_those_of_nearly_equal_scores() -> None:
    """Pairs that the run has long decided teach it nothing."""
    scores = [0.0, 5.0, 0.1, 5.3, 9.0]
    pairs = least_sure_pairs(scores, 4)
    assert pairs[:2] == [(0, 2), (1, 3)]
    assert pairs[2:] == [(3, 4), (1, 2)]
    assert (0, 2) not in least_sure_pairs(scores, 9, {(0, 2)})
    assert len(least_sure_pairs(scores, 99)) == 10
