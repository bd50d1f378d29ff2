"""Parameters of TV-L1, with OpenCV's defaults. Imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

_OPENCV = "OpenCV's default"
_MEDIANS = (1, 3, 5)


@dataclass(frozen=True, kw_only=True)
class TVL1Options:
    """Parameters of the TV-L1 energy and of its solver.

    The energy is Zach, Pock & Bischof, "A Duality Based Approach for Realtime TV-L1 Optical
    Flow", DAGM 2007; the names are those of Sánchez Pérez, Meinhardt-Llopis & Facciolo, IPOL
    2013, doi:10.5201/ipol.2013.26. Grey levels run from 0 to 255.

    Raises
    ------
    ValueError
        If a parameter is outside the range in which the method is defined.
    """

    tau: float = field(
        default=0.25,
        metadata={
            "help": "Time step of the dual ascent.",
            "source": _OPENCV,
            "min": 0.0,
            "max": 1000.0,
        },
    )
    lam: float = field(
        default=0.15,
        metadata={
            "help": "Weight of the data term; smaller gives a smoother flow.",
            "source": _OPENCV,
            "flag": "--lambda",
            "min": 0.0,
            "max": 1000.0,
        },
    )
    theta: float = field(
        default=0.3,
        metadata={
            "help": "Tightness of the coupling of data and smoothness term.",
            "source": _OPENCV,
            "min": 0.0,
            "max": 1000.0,
        },
    )
    scales: int = field(
        default=5,
        metadata={
            "help": "Pyramid levels at most; only the finest may have a side under 16 px.",
            "source": _OPENCV,
            "min": 1,
            "max": 100,
        },
    )
    scale_step: float = field(
        default=0.8,
        metadata={
            "help": "Size of a pyramid level relative to the next finer one.",
            "source": _OPENCV,
            "min": 0.0,
            "max": 1.0,
        },
    )
    warps: int = field(
        default=5,
        metadata={
            "help": "Linearisations per pyramid level.",
            "source": _OPENCV,
            "min": 1,
            "max": 10_000,
        },
    )
    epsilon: float = field(
        default=0.01,
        metadata={
            "help": "Iterations stop below this root mean square change of the flow, in px.",
            "source": _OPENCV,
            "min": 0.0,
            "max": 1000.0,
        },
    )
    inner: int = field(
        default=30,
        metadata={
            "help": "Iterations at most between two median filters.",
            "source": _OPENCV,
            "min": 1,
            "max": 100_000,
        },
    )
    outer: int = field(
        default=10,
        metadata={
            "help": "Median filters at most per warp.",
            "source": _OPENCV,
            "min": 1,
            "max": 100_000,
        },
    )
    median: int = field(
        default=5,
        metadata={
            "help": "Side of the median filter on the flow: 1 (none), 3 or 5 px.",
            "source": _OPENCV,
            "min": 1,
            "max": 5,
        },
    )

    def __post_init__(self) -> None:
        """Refuse values for which the method is not defined."""
        for name in ("tau", "lam", "theta"):
            _require(getattr(self, name) > 0, name, "a number above 0", getattr(self, name))
        for name in ("scales", "warps", "inner", "outer"):
            _require(
                getattr(self, name) >= 1, name, "an integer of at least 1", getattr(self, name)
            )
        _require(0 < self.scale_step < 1, "scale_step", "between 0 and 1", self.scale_step)
        _require(self.epsilon >= 0, "epsilon", "a number of at least 0", self.epsilon)
        _require(self.median in _MEDIANS, "median", "1, 3 or 5", self.median)


def _require(holds: bool, name: str, expected: str, got: object) -> None:
    """Raise a ValueError naming the parameter unless the condition holds."""
    if not holds:
        raise ValueError(f"TV-L1 parameter {name}: expected {expected}, got {got}")
