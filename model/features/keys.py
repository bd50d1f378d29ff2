"""State dicts of published ResNet101 checkpoints, renamed to torchvision's names.

Forms understood: a plain state dict; one inside `state_dict`, `model` or `model_state_dict`; keys
with one common prefix, such as `module.` (DataParallel), `_orig_mod.` (torch.compile) or
`base_model.` (TSN); the two-stream lineage's `conv1_custom` stem and `fc_custom` head (UCF-101,
101 classes). Any head is dropped: the trunk ends before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from model.features.stems import mean_stem

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_STEMS = ("conv1.weight", "conv1_custom.weight")
#: What a ResNet's names begin with; anything else is a head, or another part of a larger network.
_TRUNK = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
_HEADS = ("fc.", "fc_custom.", "classifier.")
_SHOWN = 5


def find_state(content: object) -> dict[str, Tensor]:
    """Return the named tensors of a loaded checkpoint, without what wraps them.

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
        kind = "keys " + ", ".join(sorted(map(str, content))[:_SHOWN])
    else:
        kind = f"a {type(content).__name__}"
    raise ValueError(f"expected a state dict (names and tensors), found {kind}")


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a ResNet's trunk torchvision's names; everything else is left out.

    Raises
    ------
    ValueError
        The checkpoint holds several networks.
    """
    prefix = _prefix(state)
    renamed = {}
    for key, value in state.items():
        name = key.removeprefix(prefix).replace("conv1_custom.", "conv1.")
        if key.startswith(prefix) and name.startswith(_TRUNK):
            renamed[name] = value
    return renamed


def left_out(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names that `rename` leaves out, without the heads that every ResNet has."""
    prefix = _prefix(state)
    known = (*_TRUNK, *_HEADS, "conv1_custom.")
    return [
        key
        for key in state
        if not (key.startswith(prefix) and key.removeprefix(prefix).startswith(known))
    ]


def _prefix(state: Mapping[str, Tensor]) -> str:
    """Return what stands before the names of the one ResNet in a checkpoint."""
    starts = {key.removesuffix(stem) for key in state for stem in _STEMS if key.endswith(stem)}
    networks = sorted(
        start for start in starts if any(key.startswith(f"{start}layer1.") for key in state)
    )
    if len(networks) > 1:
        shown = ", ".join(name or "(no prefix)" for name in networks[:_SHOWN])
        raise ValueError(f"it holds {len(networks)} networks ({shown}); save one of them alone")
    return networks[0] if networks else ""


def fit_state(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    channels: int,
    inflate: Callable[[Tensor, int], Tensor] = mean_stem,
) -> dict[str, Tensor]:
    """Fit a checkpoint's tensors to a trunk, or raise with the reasons.

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
    inflate : callable
        Makes a stem of `channels` inputs from one of three (`model.features.stems`).

    Raises
    ------
    ValueError
        Listing missing, extra and misshapen keys, or saying what the stem was made for.
    """
    given = rename(state)
    stem = given.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] != channels:
        _check_stem(stem.shape[1], channels)
        given["conv1.weight"] = inflate(stem, channels)
    ends_early = not any(key.startswith("layer4.") for key in expected)
    if ends_early:
        given = {k: v for k, v in given.items() if not k.startswith("layer4.")}
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    given = {k: v for k, v in given.items() if k not in counters}
    needed = {k: v for k, v in expected.items() if k not in counters}
    _compare(given, needed)
    fitted = {k: given[k].detach().to(needed[k].dtype).contiguous() for k in needed}
    zeros = {k: v.new_zeros(v.shape, device="cpu") for k, v in counters.items()}
    return fitted | zeros


def _check_stem(given: int, channels: int) -> None:
    """Refuse a stem for other input than the trunk gets; one of 3 channels can be inflated."""
    if given == 3:
        return
    if channels == 3:
        raise ValueError(
            f"its first convolution takes {given} channels: weights of a flow trunk, for "
            "--flow-weights"
        )
    made = f": made for --stack-length {given // 2}, not {channels // 2}" if given % 2 == 0 else ""
    raise ValueError(f"its first convolution takes {given} channels, {channels} are needed{made}")


def _compare(given: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> None:
    problems = []
    missing = sorted(needed.keys() - given.keys())
    extra = sorted(given.keys() - needed.keys())
    misshapen = [
        f"{k} {tuple(given[k].shape)} where {tuple(needed[k].shape)} is needed"
        for k in sorted(needed.keys() & given.keys())
        if given[k].shape != needed[k].shape
    ]
    for word, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{word}: {', '.join(names[:_SHOWN])}{more}")
    if problems:
        raise ValueError("not the weights of a ResNet101; " + "; ".join(problems))
