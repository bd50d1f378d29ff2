"""Networks and optical flow: pure computation, silent, without input or output.

`tvl1` computes flow, `features` maps of snippets (stage one), `ranker` scores (stage two).

Shape letters, fixed here for every docstring of this package: B batch, T snippets or time
steps, N segments, C channels, H and W map height and width, L flow fields a stack,
D hidden size, V videos, P pairs, S cached snippets of a video.
"""
