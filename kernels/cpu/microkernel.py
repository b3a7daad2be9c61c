"""The innermost loops of convolution: everything else only arranges their operands.

A processor reaches its arithmetic peak only if the results stay in registers while the operands stream past. ``tile``
keeps a block of C there, R rows by V vectors of lanes; each step k loads V vectors of B and multiplies them by R single
numbers of A:

        B[k]  ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓     V vectors              C[r, v] = S[r, v] + Σ_k A[k, r] · B[k, v]
    A[k] ·    ░░░░░░░░ ░░░░░░░░
         ·    ░░░░░░░░ ░░░░░░░░     R × V accumulators: 14 × 2 of the 32 AVX-512 registers, 6 × 2 of 16
         ·    ░░░░░░░░ ░░░░░░░░

S is C itself where a sum goes on, a bias or zeros where it begins: what is not read before it is written costs half.
S is added at the end, so that a sum of 100 000 terms, taken 256 at a time, is about as exact as one of 256.

Where step k finds one of its operands is read from a **table of offsets**. That table is what makes convolution a
matrix product without an im2col buffer: row (c, i, j) of im2col is the image itself, shifted by a constant.

``dots`` is the other order, for sums over pixels: R × T dot products of long vectors, reduced to numbers at the end.

LLVM compiles both from the same few lines for any vector width and element type. The width is the machine's; the
environment variable MINICNN_VECTOR_BITS (512, 256 or 128) sets another, to test the narrow paths on a wide machine.
"""

import os

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

_FEATURES = binding.get_host_cpu_features()


def _has(feature: str) -> bool:
    return bool(_FEATURES.get(feature, False))


def _vector_bits() -> int:
    widest = 512 if _has("avx512f") else 256 if _has("avx2") else 128
    bits = os.environ.get("MINICNN_VECTOR_BITS", str(widest))
    if bits not in ("128", "256", "512"):
        raise ValueError(f"MINICNN_VECTOR_BITS is {bits!r}: set it to 512, 256 or 128, or unset it")
    return int(bits)


BITS = _vector_bits()
_FUSED = _has("fma") or _has("avx512f") or _has("neon")
_REGISTERS = 32 if _has("avx512f") or _has("neon") else 16
MASKS = BITS > 128  # whether single lanes can be left out of a load or a store
ROWS = 14 if _REGISTERS == 32 else 6  # the most a tile can have, with two vectors
AHEAD = 6  # rows: tiles of more have loads to spare, and ask for what the tile after the next one will read
DOTS = ((6, 4), (8, 3), (1, 9)) if _REGISTERS == 32 else ((3, 4), (4, 3), (1, 9))  # shapes of ``dots``: rows, taps
STREAMS = (6, 4) if _REGISTERS == 32 else (6, 2)  # rows of ``streams``, and vectors at most


def lanes(itemsize: int) -> int:
    """Elements per vector."""
    return BITS // 8 // itemsize


def vectors(rows: int) -> int:
    """The most vectors a tile of so many rows can have: its sums, one step of B and a number of A must fit."""
    return min(8 if rows == 1 else 4, (_REGISTERS - 1) // (rows + 1))


# -- building blocks of the generated code ----------------------------------------------------------------------------

_INDEX = ir.IntType(64)


class _Emitter:
    """The handful of vector instructions both kernels are made of."""

    def __init__(self, builder, element, itemsize: int):
        self.builder, self.element, self.itemsize = builder, element, itemsize
        self.vector = ir.VectorType(element, lanes(itemsize))
        self.zero, self.nan = (ir.Constant(self.vector, [value] * self.vector.count) for value in (0.0, float("nan")))
        self.numbers = ir.Constant(ir.VectorType(ir.IntType(32), self.vector.count), list(range(self.vector.count)))

    def address(self, base, *offsets):
        """base + the sum of the offsets, in elements; Python integers and LLVM values mix."""
        for offset in offsets:
            if isinstance(offset, int):
                offset = _INDEX(offset)
            base = self.builder.gep(base, [offset], source_etype=self.element)
        return base

    def load(self, address, mask=None):
        """A vector; where a mask is given, zero in the other lanes, which are not touched."""
        if mask is None:
            return self.builder.load(self._vectors(address), align=self.itemsize, typ=self.vector)
        function = self._declare("llvm.masked.load", self.vector,
                                 [self.vector.as_pointer(), ir.IntType(32), mask.type, self.vector], ".p0")
        return self.builder.call(function, [self._vectors(address), ir.IntType(32)(self.itemsize), mask, self.zero])

    def store(self, value, address, mask=None):
        if mask is None:
            self.builder.store(value, self._vectors(address), align=self.itemsize)
        else:
            function = self._declare("llvm.masked.store", ir.VoidType(),
                                     [self.vector, self.vector.as_pointer(), ir.IntType(32), mask.type], ".p0")
            self.builder.call(function, [value, self._vectors(address), ir.IntType(32)(self.itemsize), mask])

    def everywhere(self, scalar):
        """The scalar in every lane."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.vector.count), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.IntType(32)(0))
        return self.shuffle(first, first, [0] * self.vector.count)

    def shuffle(self, a, b, order):
        """The lanes of a, then of b, in this order."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))

    def below(self, limit, start=None):
        """The mask of the lanes whose number, counted from start, is below a limit."""
        builder = self.builder
        if start is not None:
            limit = builder.sub(limit, start)
        return builder.icmp_signed("<", self.numbers, self.everywhere(builder.trunc(limit, ir.IntType(32))))

    def broadcast(self, address):
        return self.everywhere(self.builder.load(address, typ=self.element))

    def broadcast_in_order(self, address):
        """The same, loaded no earlier than it stands here.

        The compiler likes to load ahead until there are no registers left, and then keeps sums in memory: with AVX-512,
        a store and a load of 64 bytes in every step, which cost a third of the speed and sometimes half of it.
        """
        barrier = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True)
        self.builder.call(barrier, [])
        return self.broadcast(address)

    def prefetch(self, address):
        """Ask for the cache line at an address, which need not exist."""
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        name, module = "llvm.prefetch.p0i8", self.builder.module
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = module.globals.get(name) or ir.Function(module, kind, name)
        to_read, level, data = number(0), number(2), number(1)
        self.builder.call(ask, [self.builder.bitcast(address, byte), to_read, level, data])

    def multiply_add(self, a, b, c):
        """a·b + c."""
        if not _FUSED:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return self.builder.call(self._declare("llvm.fma", self.vector, [self.vector] * 3), [a, b, c])

    def total(self, vector):
        """The sum of the lanes."""
        add = self._declare("llvm.vector.reduce.fadd", self.element, [self.element, self.vector])
        return self.builder.call(add, [ir.Constant(self.element, 0.0), vector], fastmath=("reassoc",))

    def absent(self):
        """A block that ends the process: for shapes that no code was generated for, whose results would be missing."""
        block = self.builder.append_basic_block("absent")
        with self.builder.goto_block(block):
            trap = self.builder.module.declare_intrinsic("llvm.trap", (), ir.FunctionType(ir.VoidType(), []))
            self.builder.call(trap, [])
            self.builder.unreachable()
        return block

    def _vectors(self, address):
        return self.builder.bitcast(address, self.vector.as_pointer())

    def _declare(self, name, result, arguments, suffix=""):
        name = f"{name}.v{self.vector.count}f{8 * self.itemsize}{suffix}"
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)

    def loop(self, count, carried, step):
        """for k in range(count), count ≥ 1: carried = step(k, carried); the final carried values."""
        builder = self.builder
        before = builder.block
        body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        k = builder.phi(_INDEX)
        k.add_incoming(_INDEX(0), before)
        current = [builder.phi(value.type) for value in carried]
        for phi, value in zip(current, carried, strict=True):
            phi.add_incoming(value, before)
        updated = step(k, current)
        following = builder.add(k, _INDEX(1))
        end = builder.block
        k.add_incoming(following, end)
        for phi, value in zip(current, updated, strict=True):
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        return updated


def _emitter(context, builder, signature, position: int) -> _Emitter:
    dtype = signature.args[position].dtype
    return _Emitter(builder, context.get_data_type(dtype), dtype.bitwidth // 8)


@intrinsic
def shifted(typingctx, base, offset):
    """base + offset, in elements."""
    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]], source_etype=context.get_data_type(base.dtype))
    return base(base, types.intp), generate


@intrinsic
def prefetch(typingctx, base):
    """Ask for the cache line at an address, which need not exist."""
    def generate(context, builder, signature, arguments):
        _emitter(context, builder, signature, 0).prefetch(arguments[0])
        return context.get_dummy_value()
    return types.void(base), generate


@intrinsic
def lanes_of(typingctx, base):
    """Elements per vector of what a pointer points to."""
    def generate(context, builder, signature, arguments):
        return _INDEX(lanes(base.dtype.bitwidth // 8))
    return types.intp(base), generate


# -- the kernels -------------------------------------------------------------------------------------------------------

@intrinsic
def _tile(typingctx, rows, vectors_, tail, steps, table, a, a_step, a_table, b, b_step, b_table, b_next,
          s, s_step, s_next, c, c_step, c_next):
    def generate(context, builder, signature, arguments):
        (rows, count, tail, steps, table, a, a_step, a_table, b, b_step, b_table, b_next, s, s_step, s_next,
         c, c_step, c_next) = arguments
        emit = _emitter(context, builder, signature, 5)
        # The lanes that exist. Without AVX there are no masks, and all of them do.
        mask = emit.below(tail) if MASKS else None

        def block_of(r, v, b, s, c):
            """The code for r rows by v vectors."""
            sources, places = ([emit.address(base, builder.mul(step, _INDEX(i)), builder.mul(following, _INDEX(j)))
                                for i in range(r) for j in range(v)]
                               for base, step, following in ((s, s_step, s_next), (c, c_step, c_next)))
            following = [builder.mul(b_next, _INDEX(j)) for j in range(v)]

            def step(k, sums):
                entry = builder.gep(table, [k], source_etype=_INDEX)
                offset = builder.load(entry, typ=_INDEX)
                at = emit.address(a, builder.mul(k, a_step), builder.mul(offset, a_table))
                bt = emit.address(b, builder.mul(k, b_step), builder.mul(offset, b_table))
                right = [emit.load(emit.address(bt, offset), mask) for offset in following]
                if r > AHEAD and v > 1:
                    for offset in following:
                        emit.prefetch(emit.address(bt, offset, 2 * v * emit.vector.count))
                left = (emit.broadcast_in_order(emit.address(at, i)) for i in range(r))
                products = ((scalar, vector) for scalar in left for vector in right)
                return [emit.multiply_add(*ab, total) for ab, total in zip(products, sums, strict=True)]

            totals = emit.loop(steps, [emit.zero] * (r * v), step)
            for source, total, place in zip(sources, totals, places, strict=True):
                emit.store(builder.fadd(emit.load(source, mask), total), place, mask)

        # One row may be of any length: the most vectors that fit, until no more than those are left.
        given, most = (count, b, s, c), _INDEX(vectors(1))
        start, long = builder.block, builder.append_basic_block("long")
        rest, done = builder.append_basic_block("rest"), builder.append_basic_block("done")
        one = builder.icmp_signed("==", rows, _INDEX(1))
        builder.cbranch(builder.and_(one, builder.icmp_signed(">", count, most)), long, rest)
        builder.position_at_end(long)
        current = [builder.phi(value.type) for value in given]
        block_of(1, vectors(1), *current[1:])
        following = [builder.sub(current[0], most), *(
            emit.address(base, builder.mul(step, most))
            for base, step in zip(current[1:], (b_next, s_next, c_next), strict=True))]
        end = builder.block
        builder.cbranch(builder.icmp_signed(">", following[0], most), long, rest)
        builder.position_at_end(rest)
        remaining = [builder.phi(value.type) for value in given]
        for phis in (current, remaining):
            for phi, before, after in zip(phis, given, following, strict=True):
                phi.add_incoming(before, start)
                phi.add_incoming(after, end)

        few = builder.select(builder.icmp_unsigned("<", remaining[0], _INDEX(15)), remaining[0], _INDEX(15))
        switch = builder.switch(builder.add(builder.mul(rows, _INDEX(16)), few), emit.absent())
        for r in range(1, ROWS + 1):
            for v in range(1, vectors(r) + 1):
                block = builder.append_basic_block(f"rows{r}_vectors{v}")
                switch.add_case(_INDEX(16 * r + v), block)
                builder.position_at_end(block)
                block_of(r, v, *remaining[1:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()
    return tile_signature(a.dtype), generate


def tile(rows, vectors, tail, steps, table, a, a_step, a_table, b, b_step, b_table, b_next, s, s_step, s_next,
         c, c_step, c_next):
    """c[r·c_step + v·c_next + q] = s[r·s_step + v·s_next + q] + Σ_k a[a(k) + r] · b[b(k) + v·b_next + q].

    For r < rows, v < vectors, q < tail, k < steps ≥ 1; s may be c. a(k) = k·a_step + table[k]·a_table, b(k) likewise:
    the one operand is packed (step, 0), the other lies where the table says (0, 1). All but the counts are pointers to
    elements. Where rows is 1, vectors may be any number. Without AVX, tail must be lanes.
    """
    _tile(rows, vectors, tail, steps, table, a, a_step, a_table, b, b_step, b_table, b_next, s, s_step, s_next,
          c, c_step, c_next)


@intrinsic
def _streams(typingctx, vectors_, steps, a, a_row, b, s, c):
    def generate(context, builder, signature, arguments):
        count, steps, a, a_row, b, s, c = arguments
        emit = _emitter(context, builder, signature, 2)
        rows, most = STREAMS
        width, starts = emit.vector.count, [emit.address(a, builder.mul(a_row, _INDEX(r))) for r in range(rows)]
        done = builder.append_basic_block("done")
        switch = builder.switch(count, emit.absent())
        for v in range(1, most + 1):
            block = builder.append_basic_block(f"vectors{v}")
            switch.add_case(_INDEX(v), block)
            builder.position_at_end(block)

            def step(k, sums, v=v):
                bt = emit.address(b, builder.mul(k, _INDEX(v * width)))
                right = [emit.load(emit.address(bt, j * width)) for j in range(v)]
                left = (emit.broadcast_in_order(emit.address(start, k)) for start in starts)
                products = ((scalar, vector) for scalar in left for vector in right)
                return [emit.multiply_add(*ab, total) for ab, total in zip(products, sums, strict=True)]

            sums = [start for r in range(rows) for start in [emit.broadcast(emit.address(s, r))] * v]
            for place, total in enumerate(emit.loop(steps, sums, step)):
                emit.store(total, emit.address(c, place * width))
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()
    return streams_signature(a.dtype), generate


def streams(vectors, steps, a, a_row, b, s, c):
    """c[r·wide + q] = s[r] + Σ_k a[r·a_row + k] · b[k·wide + q].

    For r < STREAMS[0], q < wide = vectors·lanes, k < steps ≥ 1; vectors ≤ STREAMS[1]. The rows of a are read as they
    lie, side by side.
    """
    _streams(vectors, steps, a, a_row, b, s, c)


@intrinsic
def copy_row(typingctx, target, source, width, low, high):
    """target[q] = source[q] for low ≤ q < high, and 0 for the other q < width."""
    def generate(context, builder, signature, arguments):
        target, source, width, low, high = arguments
        emit = _emitter(context, builder, signature, 0)
        lanes = _INDEX(emit.vector.count)

        def step(k, carried):
            q = builder.mul(k, lanes)
            inside = builder.and_(builder.not_(emit.below(low, q)), emit.below(high, q))
            emit.store(emit.load(emit.address(source, q), inside), emit.address(target, q), emit.below(width, q))
            return carried

        emit.loop(builder.sdiv(builder.add(width, builder.sub(lanes, _INDEX(1))), lanes), [], step)
        return context.get_dummy_value()
    return types.void(target, source, types.intp, types.intp, types.intp), generate


@intrinsic
def _dots(typingctx, shape, count, steps, g, g_row, g_next, x, table, x_next, out, out_row):
    def generate(context, builder, signature, arguments):
        shape, count, steps, g, g_row, g_next, x, table, x_next, out, out_row = arguments
        emit = _emitter(context, builder, signature, 3)
        width = emit.vector.count
        done = builder.append_basic_block("done")
        switch = builder.switch(shape, emit.absent())
        for index, (row_count, tap_count) in enumerate(DOTS):
            block = builder.append_basic_block(f"rows{row_count}_taps{tap_count}")
            switch.add_case(_INDEX(index), block)
            builder.position_at_end(block)
            rows = [builder.mul(g_row, _INDEX(i)) for i in range(row_count)]
            taps = [builder.load(builder.gep(table, [_INDEX(j)], source_etype=_INDEX), typ=_INDEX)
                    for j in range(tap_count)]

            def image(n, sums, rows=rows, taps=taps):
                gn, xn = emit.address(g, builder.mul(n, g_next)), emit.address(x, builder.mul(n, x_next))

                def step(k, sums):
                    q = builder.mul(k, _INDEX(width))
                    left = (emit.load(emit.address(gn, row, q)) for row in rows)
                    right = [emit.load(emit.address(xn, tap, q)) for tap in taps]
                    products = ((a, b) for a in left for b in right)
                    return [emit.multiply_add(a, b, total) for (a, b), total in zip(products, sums, strict=True)]

                return emit.loop(steps, sums, step)

            for position, total in enumerate(emit.loop(count, [emit.zero] * (row_count * tap_count), image)):
                row, tap = divmod(position, tap_count)
                place = emit.address(out, builder.mul(out_row, _INDEX(row)), tap)
                value = builder.load(place, typ=emit.element)
                builder.store(builder.fadd(value, emit.total(total)), place)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()
    return dots_signature(g.dtype), generate


def dots(shape, count, steps, g, g_row, g_next, x, table, x_next, out, out_row):
    """out[r·out_row + t] += Σ_n Σ_q g[n·g_next + r·g_row + q] · x[n·x_next + table[t] + q].

    n < count, q < steps·lanes, (r, t) < DOTS[shape]; count and steps ≥ 1.
    """
    _dots(shape, count, steps, g, g_row, g_next, x, table, x_next, out, out_row)


@intrinsic
def _transpose_block(typingctx, target, target_step, source, source_step, rows, columns):
    """A square of lanes × lanes, of which rows × columns exist, turned over in registers."""
    def generate(context, builder, signature, arguments):
        target, target_step, source, source_step, rows, columns = arguments
        emit = _emitter(context, builder, signature, 0)
        width = emit.vector.count
        done = builder.append_basic_block("done")
        lines = []
        inner = emit.below(columns)
        for i in range(width):  # rows that do not exist repeat the last one
            row = builder.select(builder.icmp_signed("<", _INDEX(i), rows), _INDEX(i), builder.sub(rows, _INDEX(1)))
            lines.append(emit.load(emit.address(source, builder.mul(row, source_step)), inner))
        span = 1
        while span < width:  # exchange the off-diagonal blocks of every square of 2·span
            for i in range(width):
                if not i & span:
                    low, high = lines[i], lines[i + span]
                    take = [[j if not j & span else width + j - span for j in range(width)],
                            [j + span if not j & span else width + j for j in range(width)]]
                    lines[i], lines[i + span] = (emit.shuffle(low, high, lanes) for lanes in take)
            span *= 2
        outer = emit.below(rows)
        for j in range(width):
            store, following = builder.append_basic_block(f"store{j}"), builder.append_basic_block(f"after{j}")
            builder.cbranch(builder.icmp_signed("<", _INDEX(j), columns), store, done)
            builder.position_at_end(store)
            emit.store(lines[j], emit.address(target, builder.mul(target_step, _INDEX(j))), outer)
            builder.branch(following)
            builder.position_at_end(following)
        builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()
    return transpose_signature(target.dtype), generate


def transpose(target, target_step, source, source_step, rows, columns):
    """target[j·target_step + i] = source[i·source_step + j] for i < rows and j < columns."""
    width = lanes_of(target)
    for i in range(0, rows, width):
        for j in range(0, columns, width):
            _transpose_block(shifted(target, j * target_step + i), target_step,
                             shifted(source, i * source_step + j), source_step, min(width, rows - i),
                             min(width, columns - j))


def tile_signature(element: types.Float):
    """The C signature of ``tile``."""
    index, offsets, elements = types.intp, types.CPointer(types.int64), types.CPointer(element)
    return types.void(index, index, index, index, offsets, elements, index, index, elements, index, index, index,
                      elements, index, index, elements, index, index)


def streams_signature(element: types.Float):
    """The C signature of ``streams``."""
    index, elements = types.intp, types.CPointer(element)
    return types.void(index, index, elements, index, elements, elements, elements)


def dots_signature(element: types.Float):
    """The C signature of ``dots``."""
    index, offsets, elements = types.intp, types.CPointer(types.int64), types.CPointer(element)
    return types.void(index, index, index, elements, index, index, elements, offsets, index, elements, index)


def transpose_signature(element: types.Float):
    """The C signature of ``transpose``."""
    index, elements = types.intp, types.CPointer(element)
    return types.void(elements, index, elements, index, index, index)
