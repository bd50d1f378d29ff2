"""Sampling plans: what must hold for every video and option, and worked examples."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.options import FlowOptions, PlanOptions, parse_size
from data.sampling import plan_snippets, segment_of, timeline
from tests.helpers.sampling_reference import authors_test, authors_train, draw_train, pick_test

plans = st.builds(
    PlanOptions,
    plan=st.sampled_from(["segments", "dense"]),
    segments=st.integers(1, 40),
    candidates=st.integers(1, 5),
    stride=st.integers(1, 60),
    stack_length=st.integers(1, 15),
    frame_step=st.integers(1, 4),
    fps=st.one_of(st.none(), st.floats(0.5, 200)),
)
# Time stamps of variable frame rate: steps of 0 (two frames at once) to 300 ms.
stamps = st.lists(st.integers(0, 300), min_size=1, max_size=250).map(
    lambda steps: np.cumsum([0, *steps]) / 1000
)
segments = st.lists(st.integers(0, 29), min_size=1, max_size=80).map(
    lambda rows: np.sort(np.array(rows, dtype=np.int64))
)


def planned(times, options):
    """Plan, or None where a plan rightly refuses."""
    line = timeline(times, options)
    if len(line) >= 2:
        return plan_snippets(times, options)
    with pytest.raises(ValueError, match="at least two frames"):
        plan_snippets(times, options)
    return None


@settings(max_examples=300, deadline=None)
@given(stamps, plans)
def test_every_plan_is_sorted_in_range_and_without_waste(times, options):
    """Fails if flow is computed twice, for nothing, out of range, or for no snippet at all."""
    plan = planned(times, options)
    if plan is None:
        return
    assert plan.frame.dtype == plan.fields.dtype == plan.pairs.dtype == np.int64
    assert len(plan.frame) >= 1
    assert (np.diff(plan.frame) > 0).all()
    assert plan.frame.min() >= 0
    assert plan.pairs.max() < len(times)
    assert plan.fields.shape == (len(plan.frame), options.stack_length)
    assert np.array_equal(np.unique(plan.fields), np.arange(len(plan.pairs)))
    assert (plan.pairs[:, 0] < plan.pairs[:, 1]).all()
    assert [tuple(pair) for pair in plan.pairs] == sorted({tuple(pair) for pair in plan.pairs})


@settings(max_examples=300, deadline=None)
@given(stamps, plans)
def test_fields_are_in_time_order_around_their_frame(times, options):
    """Fails if a stack runs backwards, leaves the timeline, or does not contain its RGB frame."""
    plan = planned(times, options)
    if plan is None:
        return
    line = timeline(times, options)
    steps = {(int(a), int(b)) for a, b in pairwise(line)}
    assert {(int(a), int(b)) for a, b in plan.pairs} <= steps
    assert (np.diff(plan.fields, axis=1) >= 0).all()
    first = plan.pairs[plan.fields[:, 0], 0]
    last = plan.pairs[plan.fields[:, -1], 1]
    assert (first <= plan.frame).all()
    assert (plan.frame <= last).all()
    if len(line) > options.stack_length:  # whole windows: every field follows the one before
        assert (np.diff(plan.fields, axis=1) > 0).all()
        second, next_first = plan.pairs[plan.fields[:, :-1], 1], plan.pairs[plan.fields[:, 1:], 0]
        assert np.array_equal(second, next_first)


@settings(max_examples=200, deadline=None)
@given(stamps, plans)
def test_candidates_map_back_to_their_own_segments(times, options):
    """Fails if stage two would find a segment empty although the plan had frames there."""
    options = dataclasses.replace(options, plan="segments")
    plan = planned(times, options)
    if plan is None:
        return
    has_frames = np.unique(segment_of(timeline(times, options), len(times), options.segments))
    cached = segment_of(plan.frame, len(times), options.segments)
    assert np.array_equal(np.unique(cached), has_frames)
    assert np.bincount(cached).max() <= options.candidates


@settings(max_examples=200, deadline=None)
@given(stamps, plans)
def test_timeline_never_repeats_and_never_outruns_fps(times, options):
    """Fails if resampling invents frames or leaves more than fps asks for."""
    line = timeline(times, options)
    assert times[line[0]] <= times[0] + 0.001001  # stamps may be rounded to milliseconds
    assert (np.diff(line) > 0).all()
    if options.fps is not None:
        span = times[-1] - times[0]
        # One frame a tick: the first, those within the span, and two by rounding at its end.
        assert len(line) <= span * options.fps / options.frame_step + 3


def test_paper_windows():
    """Fails if a stack of ten fields does not cover frames t−5 … t+5."""
    plan = plan_snippets(np.arange(300) / 25, PlanOptions())
    assert len(plan.frame) == 50
    row = 20
    t = plan.frame[row]
    expected = [(t - 5 + k, t - 4 + k) for k in range(10)]
    assert [tuple(pair) for pair in plan.pairs[plan.fields[row]]] == expected


def test_odd_stack_has_the_extra_field_after_the_frame():
    """Fails if the window of an odd stack moves: L = 3 covers t−1 … t+2."""
    plan = plan_snippets(np.arange(20) / 25, PlanOptions(plan="dense", stack_length=3, stride=1))
    assert plan.frame.tolist() == list(range(1, 18))
    assert plan.pairs[plan.fields[0]].tolist() == [[0, 1], [1, 2], [2, 3]]


def test_windows_are_moved_inside_at_the_ends_and_frames_stay():
    """Fails if the first and last segments lose their frames to the window."""
    plan = plan_snippets(np.arange(50) / 25, PlanOptions(segments=50, candidates=1))
    assert plan.frame.tolist() == list(range(50))
    assert plan.pairs[plan.fields[0]].tolist() == [[k, k + 1] for k in range(10)]
    assert plan.pairs[plan.fields[-1]].tolist() == [[k, k + 1] for k in range(39, 49)]


@pytest.mark.parametrize("plan", ["segments", "dense"])
@pytest.mark.parametrize("frames", range(2, 13))
def test_videos_shorter_than_a_stack_repeat_their_end_fields(plan, frames):
    """Fails if a video of a few frames gives no snippet or fields that do not exist."""
    snippets = plan_snippets(np.arange(frames) / 25, PlanOptions(plan=plan))
    assert len(snippets.frame) >= 1
    assert len(snippets.pairs) <= frames - 1
    if frames == 2:
        assert (snippets.fields == 0).all()


@pytest.mark.parametrize("frames", [0, 1])
def test_fewer_than_two_frames_are_refused(frames):
    """Fails if a video without motion passes as planned."""
    with pytest.raises(ValueError, match=f"at least two frames, found {frames}$"):
        plan_snippets(np.arange(frames) / 25, PlanOptions())


def test_frame_step_spaces_frames_and_fields_alike():
    """Fails if frame_step thins the fields but not the flow's two frames."""
    plan = plan_snippets(np.arange(100) / 25, PlanOptions(plan="dense", stride=4, frame_step=3))
    assert set((plan.pairs[:, 1] - plan.pairs[:, 0]).tolist()) == {3}
    assert (plan.frame % 3 == 0).all()
    assert set(np.diff(plan.frame).tolist()) == {12}


@pytest.mark.parametrize("rounding", [0.0, 0.001])
def test_fps_takes_every_third_frame_of_thirty(rounding):
    """Fails if stamps in whole milliseconds (webm, mkv) make resampling stumble."""
    times = np.arange(90) / 30
    if rounding:
        times = np.round(times / rounding) * rounding
    assert timeline(times, PlanOptions(fps=10)).tolist() == list(range(0, 90, 3))
    assert timeline(times, PlanOptions(fps=30)).tolist() == list(range(90))
    assert timeline(times, PlanOptions(fps=60)).tolist() == list(range(90))


def test_fps_follows_time_stamps_not_frame_numbers():
    """Fails if variable frame rate is taken for constant."""
    times = np.concatenate([np.arange(50) / 100, 0.5 + np.arange(50) / 10])
    line = timeline(times, PlanOptions(fps=10))
    assert (line < 50).sum() == 5
    assert (line >= 50).sum() == 50


def test_time_stamps_that_go_back_are_refused():
    """Fails if unusable stamps silently give a plan."""
    with pytest.raises(ValueError, match="never go back"):
        plan_snippets(np.array([0.0, 0.2, 0.1]), PlanOptions())


@given(st.integers(1, 500), st.integers(1, 60))
def test_segments_divide_the_whole_video(frames, count):
    """Fails if frames at the ends belong to no segment or spans differ by more than a frame."""
    segment = segment_of(np.arange(frames), frames, count)
    assert segment[0] == 0
    assert segment[-1] == (frames - 1) * count // frames
    sizes = np.bincount(segment, minlength=count)
    assert len(sizes) == count
    assert sizes.max() - sizes.min() <= 1


def test_frames_outside_the_video_have_no_segment():
    """Fails if a cache of another video slips through."""
    with pytest.raises(ValueError, match="do not lie in a video of 10 frames"):
        segment_of(np.array([3, 10]), 10, 5)


@given(segments, st.integers(30, 40), st.integers(0, 2**32 - 1))
def test_draws_stay_in_their_segments_and_in_time_order(segment, count, seed):
    """Fails if training or testing sees a snippet of another segment, or goes back in time."""
    drawn = draw_train(segment, count, np.random.default_rng(seed))
    last = pick_test(segment, count)
    for rows in (drawn, last):
        assert rows.shape == (count,)
        assert (np.diff(rows) >= 0).all()
    for number in range(count):
        own = np.flatnonzero(segment == number)
        if len(own):
            assert drawn[number] in own
            assert last[number] == own[-1]
        else:
            nearest = np.abs(segment - number).min()
            assert abs(segment[last[number]] - number) == nearest
            assert drawn[number] == last[number]


def test_every_cached_snippet_is_drawn_sooner_or_later():
    """Fails if training never sees some of what was computed."""
    segment = np.repeat(np.arange(5), 3)
    rng = np.random.default_rng(0)
    seen = {int(row) for _ in range(60) for row in draw_train(segment, 5, rng)}
    assert seen == set(range(15))  # missed by chance once in 10^9


def test_draws_take_the_same_share_of_randomness_for_every_video():
    """Fails if one video's gaps change what the next video draws."""
    full, gaps = np.random.default_rng(3), np.random.default_rng(3)
    draw_train(np.arange(10), 10, full)
    draw_train(np.array([0, 7]), 10, gaps)
    assert full.integers(2**40) == gaps.integers(2**40)


@pytest.mark.parametrize("segment", [[], [2, 1], [0, 5], [-1]])
def test_impossible_segments_are_refused(segment):
    """Fails if an empty or shuffled cache gives rows."""
    with pytest.raises(ValueError, match=r"snippet|segment"):
        pick_test(np.array(segment, dtype=np.int64), 5)


def authors_bins(count, wanted):
    """Their code, written as they do: lists of bins, one draw each, the last `wanted` kept."""
    r = count // wanted
    return [list(range(low, min(low + r, count))) for low in range(0, count, r)][-wanted:]


@given(st.integers(25, 400), st.integers(0, 1000))
def test_authors_sampling_follows_their_bins(count, seed):
    """Fails if the named option is not their sampling, drawbacks included."""
    drawn = authors_train(count, 25, np.random.default_rng(seed))
    bins = authors_bins(count, 25)
    assert len(bins) == 25
    assert all(row in bin_ for row, bin_ in zip(drawn.tolist(), bins, strict=True))
    r = count // 25
    assert authors_test(count, 25).tolist() == [count - 1 - r * k for k in range(25)][::-1]


@given(st.integers(1, 24))
def test_authors_sampling_is_defined_for_few_snippets(count):
    """Fails if a short video divides by zero, as in their code."""
    rows = authors_test(count, 25)
    assert set(rows.tolist()) == set(range(count))
    assert (np.diff(rows) >= 0).all()
    assert np.array_equal(authors_train(count, 25, np.random.default_rng(0)), rows)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_target_size_keeps_the_aspect_and_never_enlarges(width, height):
    """Fails if a frame is enlarged, its short side missed, or its aspect off by over a pixel."""
    wide, high = FlowOptions().target_size(width, height)
    if min(width, height) <= 256:
        assert (wide, high) == (width, height)
        return
    assert min(wide, high) == 256
    # Rounded to the nearest pixel.
    assert abs(wide * height - high * width) <= max(width, height) / 2 + 1e-9 * width * height


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        (FlowOptions(), (640, 480), (341, 256)),
        (FlowOptions(), (480, 640), (256, 341)),
        (FlowOptions(), (1920, 1080), (455, 256)),
        (FlowOptions(short_side=None), (1920, 1080), (1920, 1080)),
        (FlowOptions(size="340x256"), (100, 100), (340, 256)),
    ],
)
def test_target_size_by_example(options, size, expected):
    """Fails if rounding or the precedence of --size changes, and with them every cache."""
    assert options.target_size(*size) == expected


@pytest.mark.parametrize("text", ["340", "340x", "x256", "0x256", "340x256x3", "-340x256", "8x8"])
def test_unreadable_sizes_are_refused(text):
    """Fails if a mistyped size is taken for something else."""
    with pytest.raises(ValueError, match="size must be"):
        parse_size(text)


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (PlanOptions, {"segments": 0}),
        (PlanOptions, {"candidates": 0}),
        (PlanOptions, {"stride": -1}),
        (PlanOptions, {"stack_length": 0}),
        (PlanOptions, {"frame_step": 1.5}),
        (PlanOptions, {"fps": 0.0}),
        (PlanOptions, {"fps": float("nan")}),
        (PlanOptions, {"plan": "sparse"}),
        (FlowOptions, {"bound": 0.0}),
        (FlowOptions, {"short_side": 8}),
        (FlowOptions, {"dtype": "int8"}),
        (FlowOptions, {"size": "big"}),
    ],
)
def test_options_out_of_range_are_refused(cls, wrong):
    """Fails if a value that no plan or cache can honour is accepted; the message names it."""
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        cls(**wrong)
