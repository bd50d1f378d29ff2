"""What the processor that numba compiles for can do."""

from __future__ import annotations

import llvmlite.binding  # type: ignore[import-untyped]
from numba.core import config


def _features() -> set[str]:
    """Return the processor features that numba compiles for."""
    chosen = getattr(config, "CPU_FEATURES", None)
    if chosen is not None:
        return {name[1:] for name in chosen.split(",") if name.startswith("+")}
    if getattr(config, "CPU_NAME", None) is not None:
        return set()
    host = llvmlite.binding.get_host_cpu_features()
    return {name for name, present in host.items() if present}


def _name() -> str:
    """Return LLVM's name of the processor that numba compiles for."""
    return getattr(config, "CPU_NAME", None) or str(llvmlite.binding.get_host_cpu_name())


_FEATURES = _features()

# Without the instruction a fused multiply-add is a slow library call.
HAS_FMA = bool(_FEATURES & {"fma", "neon"})
HAS_AVX512 = "avx512f" in _FEATURES
HAS_AVX512DQ = HAS_AVX512 and "avx512dq" in _FEATURES
# Zen 4 takes two minima of integers in the time of one of floats; Intel has fewer ports for them.
HAS_FAST_INTEGERS = _name().startswith("znver")
