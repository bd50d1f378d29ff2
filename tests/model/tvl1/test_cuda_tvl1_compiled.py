"""The CUDA engine's kernels, compiled for GPUs that need not be here, as the engine launches them.

The interpreter accepts what the compiler may not, and knows neither registers nor shared memory.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from model.tvl1.cuda.launch import Tables, build_pyramid, solve
from model.tvl1.cuda.layout import WORK_PLANES, Shape, layout_of
from model.tvl1.cuda.runtime import interpreted
from model.tvl1.options import TVL1Options

pytest.importorskip("triton.backends.nvidia", reason="needs Triton's NVIDIA back end")
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

pytestmark = pytest.mark.skipif(interpreted(), reason="the interpreter compiles nothing")

KINDS = {torch.float32: "*fp32", torch.int32: "*i32", float: "fp32", int: "i32"}
KERNELS = (
    ("model.tvl1.cuda.solve", "solve_kernel"),
    ("model.tvl1.cuda.warp", "shrink_kernel"),
    ("model.tvl1.cuda.warp", "gradient_kernel"),
)
# Per block and thread of compute capability 8.0 and 9.0; static shared memory.
REGISTERS, REGISTERS_A_THREAD, SHARED = 65536, 255, 48 << 10


class Recorder:
    """Stands for a kernel and notes what it is launched with."""

    def __init__(self, kernel: Any, launches: dict[str, Any]) -> None:
        self.kernel = kernel
        self.launches = launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **settings: Any) -> None:
            self.launches[self.kernel.__name__] = (self.kernel, args, settings)

        return launch


def launches_of(
    monkeypatch: pytest.MonkeyPatch, options: TVL1Options, shape: Shape
) -> dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Launch one batch of 340x256 as the engine does, with nothing to run it on."""
    found: dict[str, Any] = {}
    for module, name in KERNELS:
        kernel = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(f"{module}.{name}", Recorder(kernel, found))
    layout = layout_of(256, 340, options, shape)
    tables = Tables.of(layout, torch.device("cpu"))
    frames = torch.zeros((2, 256, 340), dtype=torch.uint8)
    pyramid = build_pyramid(frames, layout, tables, shape)
    workspace = torch.empty((1, WORK_PLANES, layout.plane))
    pairs = torch.tensor([[0, 1]], dtype=torch.int32)
    flow = torch.empty((1, 2, 256, 340))
    solve(pyramid, pairs, workspace, flow, layout, tables, options, shape)
    return found


def compiled(
    kernel: Any, args: tuple[Any, ...], settings: dict[str, Any], capability: int
) -> tuple[Any, dict[str, int]]:
    """Compile a launch ahead of time; return the kernel, and what a thread or block of it takes."""
    names = kernel.arg_names
    constants = {name: value for name, value in settings.items() if name in names}
    kinds = dict.fromkeys(constants, "constexpr")
    for name, value in zip(names, args, strict=False):
        kinds[name] = KINDS[value.dtype if isinstance(value, torch.Tensor) else type(value)]
    assert set(kinds) == set(names), "the launch and the kernel's arguments differ"
    source = ASTSource(
        fn=kernel,
        signature={name: kinds[name] for name in names},
        constexprs=constants,
        # Tensors start at multiples of 16 bytes, which a launch tells the compiler as well.
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if kinds[n][0] == "*"},
    )
    options = {name: value for name, value in settings.items() if name not in names}
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return kernel, resources(kernel.asm["cubin"])


def resources(cubin: bytes) -> dict[str, int]:
    """Read registers and stack of a thread, and shared memory of a block, as ptxas chose them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        pytest.skip("Triton brings no cuobjdump here")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = dict(re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", usage))
    return {name: int(value) for name, value in found.items()}


@pytest.mark.parametrize("median", [5, 3])
@pytest.mark.parametrize("capability", [80, 90])
def test_the_solver_compiles_without_moving_values_about(
    capability: int, median: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that change their layout go through shared memory and a barrier in every row.

    The registers must let one block of 16 warps start at all, and what does not fit in them is
    spilled to memory: on Hopper nothing may be.
    """
    options, shape = TVL1Options(median=median), Shape()
    kernel, args, settings = launches_of(monkeypatch, options, shape)["solve_kernel"]
    binary, used = compiled(kernel, args, settings, capability)
    assert "convert_layout" not in binary.asm["ttgir"]
    assert used["REG"] * 32 * shape.warps <= REGISTERS
    assert used["SHARED"] <= SHARED
    assert used["LOCAL"] == 0
    # Triton 3.9 keeps four numbers of one thread on the stack for 8.0.
    assert used["STACK"] <= (0 if capability == 90 else 16)


def test_the_pyramids_kernels_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run before every batch; an error in them would only show on a GPU."""
    launches = launches_of(monkeypatch, TVL1Options(), Shape())
    for name in ("shrink_kernel", "gradient_kernel"):
        _, used = compiled(*launches[name], 90)
        assert used["REG"] <= REGISTERS_A_THREAD
        assert used["STACK"] == used["LOCAL"] == used["SHARED"] == 0


def test_shapes_that_the_benchmark_tries_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """More warps leave fewer registers a thread: the largest block must still fit."""
    for shape in (Shape(32, 2), Shape(8, 2, 80)):
        with monkeypatch.context() as patch:
            launch = launches_of(patch, TVL1Options(), shape)["solve_kernel"]
        _, used = compiled(*launch, 90)
        assert used["REG"] * 32 * shape.warps <= REGISTERS
        assert shape.registers is None or used["REG"] <= shape.registers
