"""Settings of the two stages for new videos, derived from a run so that maps are as in training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data.cache.header import canonical_json
from data.errors import InputError, StaleCacheError
from data.options import FlowOptions, PlanOptions
from model.features.options import FusionOptions, TrunkOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_features.settings import FeatureSettings, all_cuda, nearest_precision
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.files import read_safetensors
from pipeline.runner.jobs import JobOptions
from pipeline.runner.schema import DAMAGE, damage, expect, read_options
from pipeline.shell.console import log
from pipeline.shell.flags import build, option, shared

if TYPE_CHECKING:
    from pipeline.runs.folder import Run

#: Folder below the output in which flow and features are kept.
CACHE = "cache"


@dataclass(frozen=True, kw_only=True)
class NewVideoOptions:
    """Which new videos, where their features are found, and how missing ones are computed."""

    exclude: tuple[str, ...] = shared("exclude")
    features: Path | None = option(
        "Take features from this output of extract-features where they fit.", default=None
    )
    flow: Path | None = option(
        "Take flow from this output of extract-flow where it fits.", default=None
    )
    cache: Path | None = option(
        "Keep the flow and features that are computed here for the next time.",
        default=None,
        show_default=f"{CACHE}/ in --output",
    )
    rgb_weights: str | None = option(
        "The RGB trunk's weights, if the file was moved since training.",
        default=None,
        metavar="FILE",
    )
    flow_weights: str | None = option(
        "The flow trunk's weights, if the file was moved since training.",
        default=None,
        metavar="FILE",
    )
    engine: str = shared("engine")
    batch_size: int | None = option(
        "Snippets a batch; halved when memory runs out.", default=None, min=1, show_default="auto"
    )
    jobs: JobOptions = field(default_factory=JobOptions)
    device: str = shared("device")
    strict: bool = shared("strict")

    @classmethod
    def of(cls, params: dict[str, Any]) -> NewVideoOptions:
        """Build from a command's parameters; caches are kept below its output by default."""
        options, output = build(cls, params), params["output"]
        if options.cache is None and output is not None:
            return replace(options, cache=output / CACHE)
        return options

    @property
    def devices(self) -> list[str]:
        """The devices that the networks run on."""
        from pipeline.runner.devices import parse_devices

        return parse_devices(self.device)

    @property
    def on_cuda(self) -> bool:
        """Whether the networks run on GPUs alone."""
        return all_cuda(self.devices)


@contextmanager
def with_cache(options: NewVideoOptions) -> Iterator[NewVideoOptions]:
    """Use a temporary folder for flow and features if the user named none to keep them in."""
    if options.cache is not None:
        yield options
        return
    with TemporaryDirectory(prefix="dexterank-") as folder:
        log.info("flow and features are not kept; --cache DIR keeps them for the next time")
        yield replace(options, cache=Path(folder))


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of the two stages with which the maps of a new video are those of training.

    Attributes
    ----------
    stage_one : Path
        The run's copy of stage one's weights.
    flow : FlowSettings
        With the engine used here.
    features : FeatureSettings
        With the present places of weight files and the precision used here. Its folder of flow
        caches is the cache folder, until `pipeline.score.features` chooses one.
    parameters, weights : dict
        As the training features recorded them.
    """

    stage_one: Path
    flow: FlowSettings
    features: FeatureSettings
    parameters: dict[str, Any]
    weights: dict[str, str]

    @classmethod
    def from_run(
        cls, run: Run, stage_one: Path | None, folder: Path, options: NewVideoOptions
    ) -> RunSettings:
        """Derive the settings from a run.

        Parameters
        ----------
        run : Run
        stage_one : Path or None
            The file of stage one's weights, if there is one.
        folder : Path
            Of the run.
        options : NewVideoOptions
            With a cache folder (see `with_cache`).

        Raises
        ------
        InputError
            Something is not recorded, or weight files are missing or not those of training.
        """
        from pipeline.stage_one.file import FILE_NAME
        from pipeline.stage_one.origins import stored_trunk

        if options.cache is None:
            raise ValueError("options: expected a cache folder (see with_cache)")
        if stage_one is None:
            raise InputError(
                f"{folder / FILE_NAME}: not found; it is what makes features of new videos: copy "
                "it there from the folder of the training features"
            )
        known = _stage_one(stage_one, run)
        trunk = _located(stored_trunk(known["trunk"]), stage_one, run, options)
        flow = _flow_settings(run, folder, options)
        precision = nearest_precision(str(known["precision"]), options.devices)
        return cls(
            stage_one=stage_one,
            flow=flow,
            features=FeatureSettings(
                flow=options.cache,
                plan=flow.plan,
                trunk=replace(trunk, precision=precision),  # type: ignore[arg-type]
                fusion=FusionOptions(**known["fusion"]),
                seed=int(known["seed"]),
                batch_size=options.batch_size,
                keep_streams=bool(run.parameters["keep_streams"]),
            ),
            parameters=run.parameters,
            weights=run.weights,
        )

    @cached_property
    def cache(self) -> Path:
        """Folder for caches made with these settings; its name stands for all of them."""
        flow, precision = self.flow.parameters, self.features.trunk.precision
        content = [self.parameters, self.parameters["flow"], self.weights, flow, precision]
        digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        return self.features.flow / digest[:12]

    def log_differences(self, options: NewVideoOptions) -> None:
        """Warn about what differs from training on this machine."""
        trained, now = self.parameters["precision"], self.features.trunk.precision
        if trained != now:
            log.warning(
                "the training features were computed in %s, these are in %s: scores may differ in "
                "the %s digit",
                trained,
                now,
                "second" if "bfloat16" in (trained, now) else "third",
            )
        elif self.parameters["flow_resize"] != (here := "torch" if options.on_cuda else "Pillow"):
            log.warning(
                "the training flow was resized by %s, this by %s: levels may differ by 1",
                self.parameters["flow_resize"],
                here,
            )
        for name in ("engine", "preparation"):
            before, after = self.parameters["flow"].get(name), self.flow.parameters[name]
            if before != after:
                log.warning(
                    "the training flow was made by %s %s, this is made by %s: scores may differ a "
                    "little",
                    name,
                    before,
                    after,
                )


def _stage_one(file: Path, run: Run) -> dict[str, Any]:
    """Return what a run's stage-one file records; InputError if it belongs to other features."""
    from pipeline.stage_one.header import check_stage_one

    metadata = read_safetensors(file)[1]
    check_stage_one(file, metadata)
    if metadata.get("weights") != run.weights:
        raise InputError(f"{file}: holds other weights than the training features were made with")
    return metadata


def _flow_settings(run: Run, folder: Path, options: NewVideoOptions) -> FlowSettings:
    """Return the settings of the training flow, with the engine used here."""
    recorded = run.parameters.get("flow")
    if not isinstance(recorded, dict):
        raise InputError(
            f"{folder}: does not say with which options its flow was made, being older than "
            "this version; extract its features and train it again"
        )
    try:
        for name in ("keep_streams", "precision", "flow_resize"):
            expect(name, run.parameters[name], isinstance(run.parameters[name], bool | str))
        plan = read_options(PlanOptions, run.parameters["plan"])
        flow = read_options(FlowOptions, recorded["flow"])
        tvl1 = read_options(TVL1Options, recorded["tvl1"])
    except DAMAGE as error:
        raise InputError(f"{folder}: the checkpoint cannot be used: {damage(error)}") from error
    settings = FlowSettings.resolved(
        plan=plan,
        flow=flow,
        tvl1=tvl1,
        engine=options.engine,
        device=options.device,
        strict=options.strict,
    )
    if settings.plan.recorded() != run.parameters["plan"]:
        raise InputError(f"{folder}: the run's sampling plan is not one that this version knows")
    return settings


def _located(
    trunk: TrunkOptions, stage_one: Path, run: Run, options: NewVideoOptions
) -> TrunkOptions:
    """Return the options with weight files that exist and are those of training."""
    from pipeline.stage_one.file import load_stage_one
    from pipeline.stage_one.origins import origins

    moved = {"rgb_weights": options.rgb_weights, "flow_weights": options.flow_weights}
    trunk = replace(trunk, **{name: file for name, file in moved.items() if file})  # type: ignore[arg-type]
    files = {k: v for k, v in origins(trunk).items() if v not in ("random", "imagenet")}
    for name, file in files.items():
        if not Path(file).is_file():
            raise InputError(
                f"{stage_one}: the {name} trunk's weights came from {file}, which does not exist; "
                f"name the file with --{name}-weights (digest {run.weights[name][:8]})"
            )
    if files:
        try:
            load_stage_one(stage_one.parent, **moved)
        except StaleCacheError as error:
            message = str(error).partition("; pass")[0]
            flags = " and ".join(f"--{name}-weights" for name in files)
            raise InputError(f"{message}; give the files used in training with {flags}") from error
    return trunk
