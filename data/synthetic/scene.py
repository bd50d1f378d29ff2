"""Draws one video's frames, and gives the box of the tool in each."""

from __future__ import annotations

import cv2
import numpy as np

from data.synthetic.motion import Trajectory
from data.synthetic.noise import Floats, Stream, stream
from data.synthetic.nuisance import PAD_RADIUS, Ground, Nuisance

# Of a hand of size 1.
_OBJECT_RADIUS = 0.038
_FINGER_WIDTH = 0.038
_KNUCKLE = 0.045  # radius of the joint between shaft and fingers
_OPEN, _CLOSED = 0.055, 0.030  # half the distance between the finger tips
_ELBOW = 0.062  # half the distance between the fingers half-way up
_BOX_MARGIN = 2.0  # pixels: anti-aliasing spreads an edge that far
_BORDER = 0.08  # extra ground around the picture, for the camera's shake
_SENSOR_NOISE = 2.0  # grey levels, standard deviation
_SUBPIXEL_BITS = 4


class _Canvas:
    """Drawing in fractions of the picture's side, moved by the camera's shake."""

    def __init__(self, image: np.ndarray, offset: Floats):
        self._image, self._size = image, image.shape[0]
        self._dx, self._dy = offset.tolist()

    def _point(self, where: Floats) -> tuple[int, int]:
        # OpenCV puts the middle of the first pixel at 0, half a pixel from the picture's edge.
        x, y = where.tolist()
        return self._subpixel(x + self._dx), self._subpixel(y + self._dy)

    def _subpixel(self, along: float) -> int:
        return round((along * self._size - 0.5) * (1 << _SUBPIXEL_BITS))

    def _length(self, length: float) -> int:
        return max(1, round(length * self._size * (1 << _SUBPIXEL_BITS)))

    def disc(self, centre: Floats, radius: float, colour: Floats) -> None:
        cv2.circle(
            self._image, self._point(centre), self._length(radius), colour.tolist(), -1,
            cv2.LINE_AA, _SUBPIXEL_BITS,
        )  # fmt: skip

    def rimmed(self, centre: Floats, radius: float, colour: Floats, rim: float = 0.008) -> None:
        self.disc(centre, radius, colour * 0.5)
        self.disc(centre, radius - rim, colour)

    def ellipse(self, centre: Floats, radii: Floats, angle: float, colour: Floats) -> None:
        axes = (self._length(radii[0]), self._length(radii[1]))
        cv2.ellipse(
            self._image, self._point(centre), axes, float(angle), 0, 360, colour.tolist(), -1,
            cv2.LINE_AA, _SUBPIXEL_BITS,
        )  # fmt: skip

    def bar(self, start: Floats, end: Floats, width: float, colour: Floats) -> None:
        along = end - start
        across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9)
        half = across * width / 2
        corners = np.array(
            [self._point(p) for p in (start + half, end + half, end - half, start - half)]
        )
        cv2.fillConvexPoly(self._image, corners, colour.tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)


class Scene:
    """One video, frame by frame.

    Parameters
    ----------
    seed, video : int
        The set and the video's number in it (the sensor's noise depends on them).
    nuisance : Nuisance
        The surroundings.
    trajectory : Trajectory
        The hand, with as many frames as the surroundings.
    size : int
        Side of the square pictures, pixels.
    """

    def __init__(
        self, seed: int, video: int, nuisance: Nuisance, trajectory: Trajectory, size: int
    ):
        self._seed, self._video, self._size = seed, video, size
        self._nuisance, self._trajectory = nuisance, trajectory
        self._hand = nuisance.hand_size
        self._border = round(_BORDER * size)
        self._ground = _paint_ground(nuisance.ground, size + 2 * self._border)
        self._slope = _light_slope(nuisance.ground, size)

    def __len__(self) -> int:
        return self._nuisance.frames

    def draw(self, frame: int, *, hand: bool = True, gripper: bool = True) -> np.ndarray:
        """Draw one frame.

        Parameters
        ----------
        frame : int
            Its number, from 0.
        hand : bool
            Without it, everything that skill moves is left out: objects, shaft and gripper.
        gripper : bool
            Without it, the gripper and the object it holds are left out.

        Returns
        -------
        ndarray, shape (size, size, 3), uint8, BGR
        """
        image = self._shifted_ground(frame)
        canvas = _Canvas(image, self._nuisance.shake[frame])
        self._draw_pads(canvas)
        if hand:
            self._draw_objects(canvas, frame, held=False)
        self._draw_distractor(canvas, frame)
        if hand:
            self._draw_shaft(canvas, frame)
        if hand and gripper:
            self._draw_objects(canvas, frame, held=True)
            self._draw_gripper(canvas, frame)
        return self._expose(image, frame)

    def box(self, frame: int) -> Floats:
        """Return the box of the gripper and what it holds: x0, y0, x1, y1 in [0, 1].

        The shaft is left out: it crosses half the picture and moves least.
        """
        joint, fingers = self._fingers(frame)
        half = _FINGER_WIDTH * self._hand / 2
        points, margins = [joint], [_KNUCKLE * self._hand]
        for finger in fingers:
            points += finger
            margins += [half, half]
        if self._trajectory.held[frame] >= 0:
            points.append(self._trajectory.tip[frame])
            margins.append(_OBJECT_RADIUS * self._hand)
        where, margin = np.array(points), np.array(margins)[:, None] + _BOX_MARGIN / self._size
        corners = np.concatenate([(where - margin).min(0), (where + margin).max(0)])
        return np.clip(corners + np.tile(self._nuisance.shake[frame], 2), 0.0, 1.0)

    def _axes(self, frame: int) -> tuple[Floats, Floats, Floats]:
        """Tip, unit vector from the tip towards the shaft, unit vector across."""
        tip = self._trajectory.tip[frame]
        along = self._nuisance.entry - tip
        along = along / np.linalg.norm(along)
        return tip, along, np.array([-along[1], along[0]])

    def _fingers(self, frame: int) -> tuple[Floats, list[tuple[Floats, Floats]]]:
        """Joint with the shaft, and elbow and end of each finger."""
        tip, along, across = self._axes(frame)
        joint = tip + along * self._nuisance.reach
        middle = joint - along * self._nuisance.reach * 0.45
        bend, spread = across * _ELBOW * self._hand, across * self._spread(frame)
        return joint, [(middle + side * bend, tip + side * spread) for side in (1.0, -1.0)]

    def _spread(self, frame: int) -> float:
        opening = self._trajectory.opening[frame]
        return self._hand * float(_CLOSED + (_OPEN - _CLOSED) * opening)

    def _shifted_ground(self, frame: int) -> np.ndarray:
        shift = self._nuisance.shake[frame] * self._size - self._border
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
        return cv2.warpAffine(
            self._ground, matrix, (self._size, self._size), borderMode=cv2.BORDER_REFLECT
        )

    def _draw_pads(self, canvas: _Canvas) -> None:
        task, colours = self._nuisance.task, self._nuisance.colours
        canvas.rimmed(task.source, PAD_RADIUS, colours.source_pad)
        canvas.rimmed(task.target, PAD_RADIUS, colours.target_pad)

    def _draw_objects(self, canvas: _Canvas, frame: int, *, held: bool) -> None:
        colour, in_hand = self._nuisance.colours.objects, self._trajectory.held[frame]
        for number, where in enumerate(self._trajectory.objects[frame]):
            if (number == in_hand) == held:
                canvas.rimmed(where, _OBJECT_RADIUS * self._hand, colour)

    def _draw_distractor(self, canvas: _Canvas, frame: int) -> None:
        distractor = self._nuisance.distractor
        centre, angle = distractor.centre[frame], distractor.angle[frame]
        canvas.ellipse(centre, distractor.radii, angle, distractor.colour * 0.6)
        canvas.ellipse(centre, distractor.radii - 0.012, angle, distractor.colour)
        for turn in np.deg2rad(angle + np.array([0.0, 120.0, 240.0])):
            arm = 0.55 * distractor.radii.min() * np.array([np.cos(turn), np.sin(turn)])
            canvas.disc(centre + arm, 0.035, distractor.spots)

    def _draw_shaft(self, canvas: _Canvas, frame: int) -> None:
        tip, along, across = self._axes(frame)
        joint, far = tip + along * self._nuisance.reach, tip + along * 2.0
        colour, glint = self._nuisance.colours.shaft, across * 0.008 * self._hand
        canvas.bar(joint, far, 0.075 * self._hand, colour * 0.55)
        canvas.bar(joint, far, 0.060 * self._hand, colour * 0.8)
        canvas.bar(joint + glint, far + glint, 0.022 * self._hand, colour)

    def _draw_gripper(self, canvas: _Canvas, frame: int) -> None:
        joint, fingers = self._fingers(frame)
        colours, knuckle = self._nuisance.colours, _KNUCKLE * self._hand
        # A light outline first, so that dark fingers stand out on dark ground too.
        for colour, shrink in ((colours.shaft, 0.0), (colours.fingers, 0.012)):
            width = _FINGER_WIDTH * self._hand - shrink
            for elbow, end in fingers:
                canvas.bar(joint, elbow, width, colour)
                canvas.bar(elbow, end, width, colour)
                canvas.disc(elbow, width / 2, colour)
                canvas.disc(end, width / 2, colour)
            canvas.disc(joint, knuckle - shrink / 2, colour)
        canvas.disc(joint, knuckle * 0.4, colours.shaft)

    def _expose(self, image: np.ndarray, frame: int) -> np.ndarray:
        """Light, its fall-off across the picture, and the sensor's noise."""
        rng = stream(self._seed, self._video, Stream.SENSOR, frame)
        half = self._size // 2
        coarse = rng.standard_normal((half, half), np.float32) * _SENSOR_NOISE
        noise = cv2.resize(coarse, (self._size, self._size), interpolation=cv2.INTER_LINEAR)
        factor = self._slope * np.float32(self._nuisance.light[frame])
        exposed = image.astype(np.float32)
        exposed *= factor[..., None]
        exposed += noise[..., None]
        np.rint(exposed, out=exposed)
        return np.clip(exposed, 0, 255, out=exposed).astype(np.uint8)


def _paint_ground(ground: Ground, size: int) -> np.ndarray:
    layers: list[np.ndarray] = [
        cv2.resize(cloud.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        for cloud in ground.clouds
    ]
    if ground.stripes is not None:
        across, direction = ground.stripes
        y, x = np.mgrid[:size, :size] / size
        wave = np.sin(2 * np.pi * across * (x * np.cos(direction) + y * np.sin(direction)))
        layers.append((8 * np.clip(4 * wave, -1, 1)).astype(np.float32))  # with soft edges
    painted = ground.colour + np.sum(layers, axis=0)[..., None]
    return np.clip(np.rint(painted), 0, 255).astype(np.uint8)


def _light_slope(ground: Ground, size: int) -> np.ndarray:
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    return (1 + ground.slope[0] * x + ground.slope[1] * y).astype(np.float32)
