"""Loops over jobs, in threads: one parallel loop for all kernels.

Numba compiles what stands in a parallel loop three times, and once more for a loop without threads. Here there is a
single parallel loop. It knows nothing but two addresses, of a function and of the arguments that the function takes:

    choose(elements, x, y)           few elements:  loop((0, 1), x, y)
                                     more:          thread 0  loop((0, 2), x, y)     jobs 0 … n/2
                                                    thread 1  loop((1, 2), x, y)     jobs n/2 … n

so that each loop is compiled once, whether it runs in threads or not.
"""

import inspect
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, prange, types
from numba.core import cgutils
from numba.core.serialize import dumps
from numba.extending import intrinsic

from .support import OPTIONS, PART, SERIAL, inlined

_LENDING = ("support", "threads", "exponential", "logarithm", "error_function", "elementwise", "jobs", "normalisation",
            "flat_normalisation")
_SOURCES = zlib.crc32(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in _LENDING))


@intrinsic
def call(typingctx, address, arguments):
    """Call the C function at an address with a tuple of integers and pointers."""
    kinds = types.BaseTuple.from_types(
        [types.intp if isinstance(kind, types.Integer) else kind for kind in arguments])

    def generate(context, builder, signature, values):
        values = [values[0], *cgutils.unpack_tuple(builder, values[1])]
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values[1:]])
        builder.call(builder.inttoptr(values[0], function.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.intp, kinds), generate


_get_num_threads = types.ExternalFunction("get_num_threads", types.intp())  # numba's own, that a cache can hold


def _in_threads(function, data):
    threads = _get_num_threads()
    for thread in prange(threads):
        call(function, (np.int64(thread), threads, data))


@cache
def _team() -> Any:
    """The address of the one parallel loop."""
    return cfunc(types.void(types.intp, types.intp), parallel=True, cache=True)(_in_threads).address


def _borrowed(context, builder, kind, value):
    """An array without its owner, which the caller keeps alive.

    Every slice of an array that has one counts as a reference to it, and threads would take the count from each other's
    caches all the time: for short slices ten times the work itself.
    """
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()


@intrinsic
def _hand_out(typingctx, team, loop, arguments):
    """loop((i, n), *arguments) for the threads i < n of the team at an address, or loop((0, 1), *arguments) if it is 0.

    Whether one of them failed, for want of memory: nothing else in a loop can.
    """
    compiled = loop.dispatcher
    signature = loop.get_call_type(typingctx, (types.UniTuple(types.intp, 2), *arguments), {})

    def generate(context, builder, _, values):
        team, _, given = values
        given = [_borrowed(context, builder, *pair) for pair in
                 zip(arguments, cgutils.unpack_tuple(builder, given), strict=True)]
        result = compiled.get_compile_result(signature)
        context.active_code_library.add_linking_library(result.library)
        number, byte, flag = ir.IntType(64), ir.IntType(8).as_pointer(), ir.IntType(1)
        failed = cgutils.alloca_once_value(builder, flag(0))
        given = cgutils.pack_struct(builder, given)
        data = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, [given, failed]))

        # What a thread does: take the arguments out of memory, and call.
        kind = ir.FunctionType(ir.VoidType(), [number, number, byte])
        thread = ir.Function(builder.module, kind, builder.module.get_unique_name("thread"))
        thread.linkage = "internal"
        thread.attributes.add("noinline")  # the code once, not for one thread and for several
        inside = ir.IRBuilder(thread.append_basic_block())
        index, count, place = thread.args
        given, failure = cgutils.unpack_tuple(inside, inside.load(inside.bitcast(place, data.type)))
        own = cgutils.pack_array(inside, [index, count])
        status, _ = context.call_conv.call_function(
            inside, context.declare_function(builder.module, result.fndesc), result.fndesc.restype,
            result.fndesc.argtypes, [own, *cgutils.unpack_tuple(inside, given)])
        with cgutils.if_unlikely(inside, status.is_error):
            inside.store(flag(1), failure)
        inside.ret_void()

        data = builder.bitcast(data, byte)
        with builder.if_else(cgutils.is_null(builder, team)) as (alone, together):
            with alone:
                builder.call(thread, [number(0), number(1), data])
            with together:
                loop = builder.inttoptr(team, ir.FunctionType(ir.VoidType(), [number, number]).as_pointer())
                builder.call(loop, [builder.ptrtoint(thread, number), builder.ptrtoint(data, number)])
        return builder.load(failed)

    return types.boolean(types.intp, loop, arguments), generate


@inlined  # not a part: a division that may raise keeps the loops that use it from becoming vector code
def jobs_of(thread, jobs):
    """The jobs that a thread (i of n) takes: the i-th of n equal stretches."""
    index, threads = thread
    return range(index * jobs // threads, (index + 1) * jobs // threads)


def threaded(loop: Callable, **options: Any) -> Callable:
    """Compile loop(thread, *arguments), which goes through jobs_of(thread, …), when it is first called, for good.

    Calls say, in the place of the thread, how many elements there are to go through: few are not worth waking threads
    for.
    """
    arguments = ", ".join([*inspect.signature(loop).parameters][1:])
    text = f"def start(team, {arguments}): return hand_out(team, loop, ({arguments},))"
    names: dict[str, Any] = {"hand_out": _hand_out, "loop": njit(**PART, **OPTIONS)(loop)}
    exec(compile("\n" * (loop.__code__.co_firstlineno - 1) + text, loop.__code__.co_filename, "exec"), names)
    start = names["start"]
    # Numba's cache looks at the file of the function only: what other files lend to the loop goes into its name, and
    # what it closes over, as the formula of one kernel of many.
    closure = dumps(tuple([cell.cell_contents for cell in loop.__closure__ or ()]))
    start.__qualname__ = f"{loop.__qualname__}_{zlib.crc32(closure, _SOURCES):08x}"
    start.__module__ = loop.__module__
    compiled = njit(cache=True, **OPTIONS, **options)(start)

    def choose(elements: int, *arguments: Any) -> None:
        if compiled(0 if elements < SERIAL else _team(), *arguments):
            raise MemoryError(f"{loop.__name__}, a compiled kernel, found no memory to work in")

    return choose
