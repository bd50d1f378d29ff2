"""Networks and optical flow: pure computation, no input or output.

Shape letters, fixed here for every docstring of this package: B batch, T snippets or time
steps, N segments, C channels, H and W map height and width, L flow fields a stack,
D hidden size, V videos, P pairs, S cached snippets of a video.
"""
