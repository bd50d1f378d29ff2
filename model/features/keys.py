"""State dicts of published ResNet101 checkpoints, renamed to torchvision's names.

Forms understood: a plain state dict; one inside `state_dict`, `model` or `model_state_dict`;
keys with `module.` in front (DataParallel); the two-stream lineage's `conv1_custom` stem and
`fc_custom` head (UCF-101, 101 classes). Any head is dropped, for the trunk ends before it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from model.features.stem import inflate_stem

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."
_HEADS = ("fc.", "fc_custom.", "classifier.")
_SHOWN = 5


def find_state(content: object) -> dict[str, Tensor]:
    """Return the named tensors of a loaded checkpoint, out of whatever wraps them.

    Raises
    ------
    ValueError
        When no mapping from names to tensors is found.
    """
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                return find_state(content[wrapper])
        state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if state:
            return state
        found = "keys " + ", ".join(sorted(map(str, content))[:_SHOWN])
    else:
        found = f"a {type(content).__name__}"
    raise ValueError(f"expected a state dict (names and tensors), found {found}")


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a state dict torchvision's names, without the head."""
    renamed = {}
    for key, value in state.items():
        name = key.removeprefix(_PREFIX).replace("conv1_custom.", "conv1.")
        if not name.startswith(_HEADS):
            renamed[name] = value
    return renamed


def fit_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, channels: int
) -> dict[str, Tensor]:
    """Fit a checkpoint's tensors to a trunk, or say why they do not fit.

    A 3-channel stem is inflated when the trunk takes more channels. `num_batches_tracked`, which
    old checkpoints lack and nothing here reads, may be missing. With a trunk that ends at conv4,
    the tensors of conv5 (`layer4`) are dropped.

    Parameters
    ----------
    state : mapping of str to Tensor
        As returned by `find_state`.
    expected : mapping of str to Tensor
        The trunk's own state dict (shapes count, values do not).
    channels : int
        Input channels of the trunk.

    Raises
    ------
    ValueError
        Listing missing, extra and misshapen keys.
    """
    found = rename(state)
    stem = found.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 3 and channels != 3:
        found["conv1.weight"] = inflate_stem(stem, channels)
    ends_early = not any(key.startswith("layer4.") for key in expected)
    if ends_early:
        found = {k: v for k, v in found.items() if not k.startswith("layer4.")}
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    found = {k: v for k, v in found.items() if k not in counters}
    wanted = {k: v for k, v in expected.items() if k not in counters}
    _compare(found, wanted)
    fitted = {k: found[k].detach().to(wanted[k].dtype).contiguous() for k in wanted}
    zeros = {k: v.new_zeros(v.shape, device="cpu") for k, v in counters.items()}
    return fitted | zeros


def _compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = []
    missing = sorted(wanted.keys() - found.keys())
    extra = sorted(found.keys() - wanted.keys())
    misshapen = [
        f"{k} {tuple(found[k].shape)} where {tuple(wanted[k].shape)} is needed"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    ]
    for word, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{word}: {', '.join(names[:_SHOWN])}{more}")
    if problems:
        raise ValueError("not the weights of a ResNet101; " + "; ".join(problems))
