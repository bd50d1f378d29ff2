"""Which of two lane values is larger or smaller: as numbers, as sizes, by their bits.

A float32 that is neither NaN nor -0 sorts as a signed integer does once the bits of negative
ones are turned over (``sortable``).
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types

from model.tvl1.cpu.lanes import (
    F4,
    I4,
    WIDTH,
    call_llvm,
    constant,
    extract_first,
    lane_wise,
    lanes_type,
    mask_type,
)
from model.tvl1.cpu.processor import HAS_AVX512DQ


def _odd_value(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    minus_zero = builder.icmp_unsigned("==", builder.bitcast(x, I4), constant(I4, 1 << 31))
    return builder.or_(minus_zero, builder.fcmp_unordered("uno", x, x))


def _reduced(build: Callable) -> Callable:
    """Return a builder that folds all lanes to one value, halving them each time."""

    def emit(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        for half in (8, 4, 2, 1):
            places = ir.Constant(I4, [(i + half) % WIDTH for i in range(WIDTH)])
            x = build(builder, x, builder.shuffle_vector(x, ir.Constant(F4, ir.Undefined), places))
        return extract_first(builder, x)

    return emit


def _larger(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


def _smaller(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered("<", x, y), x, y)


def _by_size(build: Callable, selection: int) -> Callable:
    """Return a builder that chooses one of two absolute values; AVX-512 does it at once."""

    def emit(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        if not HAS_AVX512DQ:
            return build(builder, call_llvm(builder, "fabs", x), call_llvm(builder, "fabs", y))
        name, word, mask = "llvm.x86.avx512.mask.range.ps.512", ir.IntType(32), ir.IntType(WIDTH)
        declared = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(F4, [F4, F4, word, F4, mask, word]), name
        )
        nothing = ir.Constant(F4, ir.Undefined)
        return builder.call(declared, [x, y, word(selection), nothing, mask(-1), word(4)])

    return emit


def _by_bits(sign: str) -> Callable:
    """Return a builder that chooses one of two values, whose bits it compares as integers."""

    def emit(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        a, b = builder.bitcast(x, I4), builder.bitcast(y, I4)
        return builder.bitcast(builder.select(builder.icmp_signed(sign, a, b), a, b), F4)

    return emit


def _sortable(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    bits = builder.bitcast(x, I4)
    negative = builder.ashr(bits, constant(I4, 31))
    turned = builder.and_(negative, constant(I4, 2**31 - 1))
    return builder.bitcast(builder.xor(bits, turned), F4)


_L, _M = lanes_type, mask_type

larger = lane_wise(_larger, _L, _L, _L)
smaller = lane_wise(_smaller, _L, _L, _L)
# The larger and the smaller of two absolute values; of NaN and a number, either.
larger_size = lane_wise(_by_size(_larger, 0b1011), _L, _L, _L)
smaller_size = lane_wise(_by_size(_smaller, 0b1010), _L, _L, _L)
# The largest and smallest of all lanes.
largest = lane_wise(_reduced(_larger), types.float32, _L)
smallest = lane_wise(_reduced(_smaller), types.float32, _L)
# Values to bits that sort as signed integers, and back; the larger and the smaller of two such.
sortable = lane_wise(_sortable, _L, _L)
larger_bits = lane_wise(_by_bits(">"), _L, _L, _L)
smaller_bits = lane_wise(_by_bits("<"), _L, _L, _L)
# Mask of NaN and -0: values that a median can pick or not by the order of comparisons.
odd_value = lane_wise(_odd_value, _M, _L)
