"""`pipeline fit-fusion`: learn ConvFusion with the ranker on training pairs, then freeze it.

Read downwards: the function that does it, the flags, what is printed. The flags derive from
`settings.py`; `fit.py` reads the stream maps, fits, and writes the checkpoint that
`extract-features --fusion` takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from model.ranker.options import apply_preset
from pipeline.fit_fusion.settings import FusionSettings
from pipeline.shell.common import common_options
from pipeline.shell.console import emit
from pipeline.shell.flags import build, dataclass_options, explicit_flags

if TYPE_CHECKING:
    from pipeline.fit_fusion.fit import FusionFit


def fit_fusion(settings: FusionSettings) -> FusionFit:
    """Train ConvFusion jointly with a ranker on training pairs, from cached stream maps.

    No other video than those of the training pairs is read. The same call goes on with a fit that
    was interrupted, to the same result.

    Raises
    ------
    InputError
        Caches without stream maps or of different origin; options that do not fit.
    """
    from pipeline.fit_fusion.fit import run_fit

    settings.check()
    return run_fit(settings, settings.read_judgements())


EPILOG = """\b
Examples:
  pipeline extract-features videos/ --flow flow/ -o streams/ --keep-streams
  pipeline fit-fusion --features streams/ --pairs pairs.csv --fold 1 -o fusion.safetensors
  pipeline extract-features videos/ --flow flow/ -o features/ --fusion fusion.safetensors
"""


@click.command("fit-fusion", epilog=EPILOG)
@dataclass_options(FusionSettings)
@common_options()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Learn ConvFusion together with the ranker, on training pairs only.

    The checkpoint is for `extract-features --fusion FILE` with the same trunks. Give the same
    training pairs, or the same --fold, as to train-ranker: features that saw a test video would
    flatter every later result.
    """
    settings = build(FusionSettings, params)
    train = apply_preset(settings.train, settings.preset, explicit_flags(ctx, config_file=True))
    result = fit_fusion(replace(settings, train=train))
    emit(f"{result.path}: {result.summary}")
