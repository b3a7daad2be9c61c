"""Winograd's transforms, on vectors: from 6×6 pixels, 4×4 results or 3×3 weights to 36 points, and back.

Each takes a block of vectors through the same small linear map twice, down the columns and along the rows. B, A and G
are those of Lavin & Gray 2016 for F(4×4, 3×3), which evaluate polynomials at 0, ±1, ±2 and infinity:

    pixels    d (6×6) → Bᵀ·d·B        results    m (6×6) → Aᵀ·m·A       weights    g (3×3) → G·g·Gᵀ
                                      gradient   g (4×4) → A·g·Aᵀ       their gradient  m (6×6) → Gᵀ·m·G

The points ±1, and ±2, differ in the sign of the odd powers only, so each pair costs one sum and one difference.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .microkernel import _emitter, _INDEX

POINTS = 36


class _Algebra:
    """Sums and products of vectors."""

    def __init__(self, emit):
        self.emit = emit
        self.add, self.sub = emit.builder.fadd, emit.builder.fsub

    def scaled(self, number, a, b=None):
        """number·a + b."""
        constant = ir.Constant(self.emit.vector, [number] * self.emit.vector.count)
        if b is None:
            return self.emit.builder.fmul(constant, a)
        return self.emit.multiply_add(constant, a, b)

    def pair(self, even, odd):
        return self.add(even, odd), self.sub(even, odd)

    def pixels(self, d):
        """Bᵀ·d."""
        return (self.scaled(4, d[0], self.scaled(-5, d[2], d[4])),
                *self.pair(self.scaled(-4, d[2], d[4]), self.scaled(-4, d[1], d[3])),
                *self.pair(self.sub(d[4], d[2]), self.scaled(2, self.sub(d[3], d[1]))),
                self.scaled(4, d[1], self.scaled(-5, d[3], d[5])))

    def results(self, m):
        """Aᵀ·m."""
        (s1, d1), (s2, d2) = self.pair(m[1], m[2]), self.pair(m[3], m[4])
        return (self.add(m[0], self.add(s1, s2)), self.scaled(2, d2, d1), self.scaled(4, s2, s1),
                self.add(self.scaled(8, d2, d1), m[5]))

    def gradient(self, g):
        """A·g."""
        return (g[0], *self.pair(self.add(g[0], g[2]), self.add(g[1], g[3])),
                *self.pair(self.scaled(4, g[2], g[0]), self.scaled(8, g[3], self.scaled(2, g[1]))), g[3])

    def weights(self, g):
        """G·g."""
        return (self.scaled(1 / 4, g[0]),
                *self.pair(self.scaled(-1 / 6, self.add(g[0], g[2])), self.scaled(-1 / 6, g[1])),
                *self.pair(self.scaled(1 / 24, g[0], self.scaled(1 / 6, g[2])), self.scaled(1 / 12, g[1])), g[2])

    def weights_gradient(self, m):
        """Gᵀ·m."""
        (s1, d1), (s2, d2) = self.pair(m[1], m[2]), self.pair(m[3], m[4])
        return (self.scaled(1 / 24, s2, self.scaled(-1 / 6, s1, self.scaled(1 / 4, m[0]))),
                self.scaled(1 / 12, d2, self.scaled(-1 / 6, d1)),
                self.scaled(1 / 6, self.sub(s2, s1), m[5]))


def _both_ways(transform, block):
    """The transform of every column, then of every row."""
    columns = [transform(column) for column in zip(*block, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _load_points(emit, source, step):
    builder = emit.builder
    return [[emit.load(emit.address(source, builder.mul(step, _INDEX(6 * i + j)))) for j in range(6)] for i in range(6)]


def _store_points(emit, points, target, step, mask=None):
    for i, row in enumerate(points):
        for j, value in enumerate(row):
            emit.store(value, emit.address(target, emit.builder.mul(step, _INDEX(6 * i + j))), mask)


def _apart(emit, vectors):
    """Four vectors of neighbours → four vectors, the r-th with the numbers r, r + 4, r + 8, …"""
    width = emit.vector.count
    found = []
    for r in (0, 2):
        order = [*range(r, 2 * width, 4), *range(r + 1, 2 * width, 4)]
        low, high = emit.shuffle(vectors[0], vectors[1], order), emit.shuffle(vectors[2], vectors[3], order)
        half = width // 2
        found += [emit.shuffle(low, high, [*range(half), *range(width, width + half)]),
                  emit.shuffle(low, high, [*range(half, width), *range(width + half, 2 * width)])]
    return found


def _together(emit, phases):
    """The inverse of _apart."""
    width = emit.vector.count
    half = width // 2
    mixed = []
    for a, b in (phases[:2], phases[2:]):  # [a0 b0 a1 b1 …] in two vectors
        mixed.append([emit.shuffle(a, b, [k // 2 + k % 2 * width + start for k in range(width)])
                      for start in (0, half)])
    found = []
    for a, b in zip(*mixed, strict=True):
        for start in (0, half):
            found.append(emit.shuffle(a, b, [start + k // 4 * 2 + k % 2 + (k % 4 // 2) * width for k in range(width)]))
    return found


@intrinsic
def pixels_to_points(typingctx, target, step, source, row_step, top, bottom, low, high):
    """The points of neighbouring tiles, one in each lane; tile t begins 4·t pixels right of source.

    Outside the rows top ≤ i < bottom and the columns low ≤ j < high, both counted from source, pixels are zero.
    """
    def generate(context, builder, signature, arguments):
        target, step, source, row_step, top, bottom, low, high = arguments
        emit = _emitter(context, builder, signature, 0)
        width, rows = emit.vector.count, []
        for i in map(_INDEX, range(6)):
            exists = builder.and_(builder.icmp_signed("<=", top, i), builder.icmp_signed("<", i, bottom))
            end, line, vectors = builder.select(exists, high, low), builder.mul(row_step, i), []
            for v in range(5):
                start = _INDEX(v * width)
                mask = builder.and_(builder.not_(emit.below(low, start)), emit.below(end, start))
                vectors.append(emit.load(emit.address(source, line, start), mask))
            phases, after = _apart(emit, vectors[:4]), vectors[4]
            following = [emit.shuffle(phases[r], after, [*range(1, width), width + r]) for r in (0, 1)]
            rows.append([*phases, *following])
        _store_points(emit, _both_ways(_Algebra(emit).pixels, rows), target, step)
        return context.get_dummy_value()
    return types.void(target, types.intp, source, *[types.intp] * 5), generate


@intrinsic
def points_to_results(typingctx, target, row_step, source, step, bias, rows, columns):
    """The inverse for results: 4×4 of each tile, plus the number at bias; those at i < rows and j < columns exist."""
    def generate(context, builder, signature, arguments):
        target, row_step, source, step, bias, rows, columns = arguments
        emit = _emitter(context, builder, signature, 0)
        width, start = emit.vector.count, emit.broadcast(bias)
        block = _both_ways(_Algebra(emit).results, _load_points(emit, source, step))
        for i, row in enumerate(block):
            end = builder.select(builder.icmp_signed("<", _INDEX(i), rows), columns, _INDEX(0))
            for v, vector in enumerate(_together(emit, [builder.fadd(value, start) for value in row])):
                emit.store(vector, emit.address(target, builder.mul(row_step, _INDEX(i)), v * width),
                           emit.below(end, _INDEX(v * width)))
        return context.get_dummy_value()
    return types.void(target, types.intp, source, types.intp, bias, types.intp, types.intp), generate


@intrinsic
def weights_to_points(typingctx, target, step, source, source_step, count):
    """The points of kernels, one in each lane; weight k of all stands at source + k·source_step."""
    def generate(context, builder, signature, arguments):
        target, step, source, source_step, count = arguments
        emit = _emitter(context, builder, signature, 0)
        mask = emit.below(count)
        kernel = [[emit.load(emit.address(source, builder.mul(source_step, _INDEX(3 * i + j))), mask)
                   for j in range(3)] for i in range(3)]
        _store_points(emit, _both_ways(_Algebra(emit).weights, kernel), target, step, mask)
        return context.get_dummy_value()
    return types.void(target, types.intp, source, types.intp, types.intp), generate


@intrinsic
def points_to_weights(typingctx, target, source, step):
    """The gradient of weights from that of their points: weight k of all lanes at target + k·lanes."""
    def generate(context, builder, signature, arguments):
        target, source, step = arguments
        emit = _emitter(context, builder, signature, 0)
        kernel = _both_ways(_Algebra(emit).weights_gradient, _load_points(emit, source, step))
        for k, value in enumerate(value for row in kernel for value in row):
            emit.store(value, emit.address(target, k * emit.vector.count))
        return context.get_dummy_value()
    return types.void(target, source, types.intp), generate


def _block_to_points(size, transform):
    @intrinsic
    def to_points(typingctx, target, step, source, row_step, pixel_step):
        def generate(context, builder, signature, arguments):
            target, step, source, row_step, pixel_step = arguments
            emit = _emitter(context, builder, signature, 0)
            block = [[emit.load(emit.address(source, builder.mul(row_step, _INDEX(i)),
                                             builder.mul(pixel_step, _INDEX(j)))) for j in range(size)]
                     for i in range(size)]
            _store_points(emit, _both_ways(getattr(_Algebra(emit), transform), block), target, step)
            return context.get_dummy_value()
        return types.void(target, types.intp, source, types.intp, types.intp), generate
    return to_points


# One tile, a channel in each lane, whose pixels are pixel_step and rows row_step apart.
channels_to_points = _block_to_points(6, "pixels")
gradient_to_points = _block_to_points(4, "gradient")
