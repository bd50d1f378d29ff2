"""A numba type of several float32 lanes, so that a loop is vector code by construction.

LLVM's own vectoriser gives up on TV-L1's loops: with a dozen arrays it cannot rule out that
they overlap. Inside numba functions a ``Lanes`` value stands for ``WIDTH`` neighbouring
pixels; ``+ - * /`` and comparisons act on each lane, rounded as IEEE 754 says, and nothing
is contracted or reassociated unless it is written so (``fma``). LLVM splits the lanes to
the registers that the processor has, so results do not depend on it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

from model.tvl1.cpu.processor import HAS_AVX512

# Lanes of one value: a whole AVX-512 register, else two of AVX2 or four of NEON and SSE.
WIDTH = 16

# What the names stand for in annotations of numba functions.
Lanes = Any
Mask = Any

F4 = ir.VectorType(ir.FloatType(), WIDTH)
_F8 = ir.VectorType(ir.DoubleType(), WIDTH)
_I1 = ir.VectorType(ir.IntType(1), WIDTH)
I4 = ir.VectorType(ir.IntType(32), WIDTH)
_I8 = ir.VectorType(ir.IntType(64), WIDTH)


class LanesType(types.Type):
    """Numba's type of ``WIDTH`` float32 values."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes{WIDTH}")


class MaskType(types.Type):
    """Numba's type of ``WIDTH`` truth values."""

    def __init__(self) -> None:
        super().__init__(name=f"Mask{WIDTH}")


lanes_type = LanesType()
mask_type = MaskType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: types.Type) -> None:
        super().__init__(manager, fe_type, F4)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: types.Type) -> None:
        super().__init__(manager, fe_type, _I1)


def constant(vector: ir.VectorType, value: float | int) -> ir.Constant:
    """Return lanes that all hold a number known beforehand."""
    return ir.Constant(vector, [value] * WIDTH)


def _define(op: Callable, result: types.Type, operand: types.Type, emit: Callable) -> None:
    """Give a binary operator its meaning for two values of one lane type."""

    @infer_global(op)
    class _Template(ConcreteTemplate):
        cases = [signature(result, operand, operand)]  # noqa: RUF012

    @lower_builtin(op, operand, operand)
    def _lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return emit(builder, *args)


_define(operator.add, lanes_type, lanes_type, lambda b, x, y: b.fadd(x, y))
_define(operator.sub, lanes_type, lanes_type, lambda b, x, y: b.fsub(x, y))
_define(operator.mul, lanes_type, lanes_type, lambda b, x, y: b.fmul(x, y))
_define(operator.truediv, lanes_type, lanes_type, lambda b, x, y: b.fdiv(x, y))
_define(operator.lt, mask_type, lanes_type, lambda b, x, y: b.fcmp_ordered("<", x, y))
_define(operator.gt, mask_type, lanes_type, lambda b, x, y: b.fcmp_ordered(">", x, y))
# Unordered, so that NaN differs from itself.
_define(operator.ne, mask_type, lanes_type, lambda b, x, y: b.fcmp_unordered("!=", x, y))
_define(operator.or_, mask_type, mask_type, lambda b, x, y: b.or_(x, y))
_define(operator.and_, mask_type, mask_type, lambda b, x, y: b.and_(x, y))


def _pointer(builder: ir.IRBuilder, args: Any, element: ir.Type) -> ir.Value:
    """Return where the float32 of an index lies, counted from an address."""
    bytes_on = builder.mul(args[1], args[1].type(4))
    return builder.inttoptr(builder.add(args[0], bytes_on), element.as_pointer())


def _third(channel: int) -> Callable:
    """Make a numba function that reads one of three interleaved channels."""
    three = ir.VectorType(ir.FloatType(), 3 * WIDTH)
    places = ir.Constant(I4, list(range(channel, 3 * WIDTH, 3)))

    def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        value = builder.load(_pointer(builder, args, three), align=4)
        return builder.shuffle_vector(value, ir.Constant(three, ir.Undefined), places)

    return intrinsic(lambda typing_context, base, index: (_L(types.intp, types.intp), emit))


def _reader(result: types.Type, element: ir.Type) -> Callable:
    """Make a numba function that reads from an address and an index."""

    def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.load(_pointer(builder, args, element), align=4)

    return intrinsic(lambda typing_context, base, index: (result(types.intp, types.intp), emit))


def _writer(operand: types.Type, element: ir.Type) -> Callable:
    """Make a numba function that writes to an address and an index."""

    def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        builder.store(args[2], _pointer(builder, args, element), align=4)
        return context.get_dummy_value()

    return intrinsic(
        lambda typing_context, base, index, value: (
            types.none(types.intp, types.intp, operand),
            emit,
        )
    )


def _repeat(builder: ir.IRBuilder, vector: ir.VectorType, one: ir.Value) -> ir.Value:
    """Return lanes that all hold one value."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, one, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, constant(I4, 0))


def _lane_before(builder: ir.IRBuilder, limit: ir.Value) -> ir.Value:
    limits = _repeat(builder, I4, builder.trunc(limit, ir.IntType(32)))
    return builder.icmp_signed("<", ir.Constant(I4, list(range(WIDTH))), limits)


def lane_wise(build: Callable, result: types.Type, *operands: types.Type) -> Callable:
    """Make a numba function of lane values from a builder of LLVM instructions."""

    def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return build(builder, *args)

    if len(operands) == 1:
        return intrinsic(lambda typing_context, x: (result(*operands), emit))
    if len(operands) == 2:
        return intrinsic(lambda typing_context, x, y: (result(*operands), emit))
    return intrinsic(lambda typing_context, x, y, z: (result(*operands), emit))


def call_llvm(builder: ir.IRBuilder, name: str, *args: ir.Value) -> ir.Value:
    """Call one of LLVM's lane-wise functions, such as llvm.sqrt."""
    vector = args[0].type
    full = f"llvm.{name}.v{WIDTH}{vector.element.intrinsic_name}"
    declared = builder.module.globals.get(full)
    if declared is None:
        kind = ir.FunctionType(vector, [vector] * len(args))
        declared = ir.Function(builder.module, kind, full)
    return builder.call(declared, args)


def _counted(builder: ir.IRBuilder, start: ir.Value) -> ir.Value:
    numbers = ir.Constant(F4, [float(i) for i in range(WIDTH)])
    return builder.fadd(_repeat(builder, F4, start), numbers)


def extract_first(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return the first of the lanes."""
    return builder.extract_element(x, ir.IntType(32)(0))


def _any(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    word = ir.IntType(WIDTH)
    return builder.icmp_unsigned("!=", builder.bitcast(mask, word), word(0))


def _reciprocal_root(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    if HAS_AVX512:
        name = "llvm.x86.avx512.rsqrt14.ps.512"
        mask = ir.IntType(WIDTH)
        declared = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(F4, [F4, F4, mask]), name
        )
        return builder.call(declared, [x, constant(F4, 0.0), mask(-1)])
    # With these flags LLVM may use the processor's estimate and one Newton step.
    flags = ("arcp", "afn", "ninf", "nnan")
    root = call_llvm(builder, "sqrt", x)
    root.fastmath.update(flags)
    return builder.fdiv(constant(F4, 1.0), root, flags=flags)


def _wide_hypot(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    x, y = builder.fpext(x, _F8), builder.fpext(y, _F8)
    return call_llvm(builder, "sqrt", builder.fadd(builder.fmul(x, x), builder.fmul(y, y)))


def _hypot(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return builder.fptrunc(_wide_hypot(builder, x, y), F4)


def _hypot_unsure(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Mask where an error of 4 units in the last place could change the float32 result.

    Those are ties between two float32, results under the normal range and infinities.
    """
    h = _wide_hypot(builder, x, y)
    tail = builder.and_(builder.bitcast(h, _I8), constant(_I8, (1 << 29) - 1))
    offset = builder.sub(tail, constant(_I8, (1 << 28) - 4))
    tie = builder.icmp_unsigned("<=", offset, constant(_I8, 8))
    low = builder.fcmp_unordered("<", h, constant(_F8, 2.0**-126))
    high = builder.fcmp_unordered(">", h, constant(_F8, 2.0**127))
    zero = builder.fcmp_ordered("==", h, constant(_F8, 0.0))
    return builder.or_(tie, builder.or_(high, builder.and_(low, builder.not_(zero))))


_L, _M = lanes_type, mask_type

# Read and write lanes, or one float32, from an index of float32 after an address on. Not
# checked. Addresses instead of arrays, because numba counts references of arrays at each call.
load = _reader(_L, F4)
store = _writer(_L, F4)
load_first, load_second, load_third = (_third(channel) for channel in range(3))
get = _reader(types.float32, ir.FloatType())
put = _writer(types.float32, ir.FloatType())

# Lanes that all hold one float32, and the mask of the lanes numbered under a limit.
spread = lane_wise(lambda b, x: _repeat(b, F4, x), _L, types.float32)
lane_before = lane_wise(_lane_before, _M, types.intp)
# x·y + z with one rounding.
fma = lane_wise(lambda b, x, y, z: call_llvm(b, "fma", x, y, z), _L, _L, _L, _L)
# x·y - z and z - x·y with one rounding.
fms = lane_wise(lambda b, x, y, z: call_llvm(b, "fma", x, y, b.fneg(z)), _L, _L, _L, _L)
fnma = lane_wise(lambda b, x, y, z: call_llvm(b, "fma", b.fneg(x), y, z), _L, _L, _L, _L)
negative = lane_wise(lambda b, x: b.fneg(x), _L, _L)
# The size without the sign; the size of the first with the sign of the second.
absolute = lane_wise(lambda b, x: call_llvm(b, "fabs", x), _L, _L)
copysign = lane_wise(lambda b, x, y: call_llvm(b, "copysign", x, y), _L, _L, _L)
select = lane_wise(lambda b, mask, x, y: b.select(mask, x, y), _L, _M, _L, _L)
floor = lane_wise(lambda b, x: call_llvm(b, "floor", x), _L, _L)
# Lanes that count up from a float32; the first lane.
counted = lane_wise(_counted, _L, types.float32)
first_lane = lane_wise(extract_first, types.float32, _L)
any_lane = lane_wise(_any, types.boolean, _M)
# 1/sqrt(x) for normal x > 0 within 2^-14; the exact bits depend on the processor.
reciprocal_root = lane_wise(_reciprocal_root, _L, _L)
# float32 of the double sqrt(x² + y²), and where that may differ from the C library's hypot.
hypot = lane_wise(_hypot, _L, _L, _L)
hypot_unsure = lane_wise(_hypot_unsure, _M, _L, _L)
