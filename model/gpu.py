"""Whether PyTorch can compute on an NVIDIA GPU: the device must be one that it was built for."""

from __future__ import annotations

import re

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)[a-z]?")


def why_unusable(number: int) -> str | None:
    """Return why PyTorch cannot compute on a visible CUDA device, None where it can.

    A GPU older than the code in PyTorch's package is listed as available, and the first operation
    on it fails with "no kernel image".
    """
    import torch

    matches = [_ARCHITECTURE.fullmatch(name) for name in torch.cuda.get_arch_list()]
    built = {(match[1], int(match[2])) for match in matches if match}
    if not built:  # A build for other devices than NVIDIA's, or one that does not say.
        return None
    major, minor = torch.cuda.get_device_capability(number)
    capability = 10 * major + minor
    # Compiled code ("sm") runs on later devices of its generation, source code ("compute") on all.
    for kind, version in built:
        if version <= capability and (kind == "compute" or version // 10 == major):
            return None
    oldest = min(version for _, version in built)
    return (
        f"{torch.cuda.get_device_name(number)} has compute capability {major}.{minor}, and "
        f"PyTorch {torch.__version__} is built for {oldest / 10:.1f} and later; install a build "
        "of PyTorch for it"
    )
