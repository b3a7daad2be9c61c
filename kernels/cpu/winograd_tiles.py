"""Winograd's transforms, on vectors: from 6×6 pixels, m×m results or r×r weights to 36 points, and back; m + r = 7.

Each takes a block of vectors through the same small linear map twice, down the columns and along the rows. B, A and G
are those of Lavin & Gray 2016 for F(4×4, 3×3), or of their like for F(2×2, 5×5): both evaluate polynomials at 0, ±1, ±2
and infinity.

    pixels    d (6×6) → Bᵀ·d·B        results    p (6×6) → Aᵀ·p·A       weights    g (r×r) → G·g·Gᵀ
                                      gradient   g (m×m) → A·g·Aᵀ       their gradient  p (6×6) → Gᵀ·p·G

The points ±1, and ±2, differ in the sign of the odd powers only, so each pair costs one sum and one difference.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .microkernel import _emitter, _INDEX
from .support import part

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

    def results(self, p, side):
        """Aᵀ·p: the coefficient of the k-th power is Σ point^k·p, and that of the last counts infinity."""
        (s1, d1), (s2, d2) = self.pair(p[1], p[2]), self.pair(p[3], p[4])
        found = [self.scaled(2**k, (s2, d2)[k % 2], (s1, d1)[k % 2]) for k in range(side)]
        return self.add(p[0], found[0]), *found[1:-1], self.add(found[-1], p[5])

    def gradient(self, g):
        """A·g: the values of the polynomial g, the last one at infinity."""
        return (g[0], *self.pair(self.polynomial(1, g[::2]), self.polynomial(1, g[1::2])),
                *self.pair(self.polynomial(4, g[::2]), self.scaled(2, self.polynomial(4, g[1::2]))), g[-1])

    def polynomial(self, x, g):
        """Σ x^k·g[k]."""
        value = g[-1]
        for coefficient in g[-2::-1]:
            value = self.scaled(x, value, coefficient) if x != 1 else self.add(value, coefficient)
        return value

    def weights(self, g):
        """G·g: the values of the polynomial g, divided by what interpolation asks for."""
        factors = 1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24
        *finite, last = self.gradient(g)
        return *(self.scaled(factor, value) for factor, value in zip(factors, finite, strict=True)), last

    def weights_gradient(self, p, side):
        """Gᵀ·p."""
        factors = 1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24
        return self.results([*map(self.scaled, factors, p[:5]), p[5]], side)


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
    """m = 2 or 4 vectors of neighbours → m vectors, the r-th with the numbers r, r + m, r + 2m, …"""
    width = emit.vector.count
    if len(vectors) == 2:
        return [emit.shuffle(*vectors, [*range(r, 2 * width, 2)]) for r in (0, 1)]
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
    mixed = [[emit.shuffle(a, b, [k // 2 + k % 2 * width + start for k in range(width)]) for start in (0, half)]
             for a, b in zip(phases[::2], phases[1::2], strict=True)]  # [a0 b0 a1 b1 …] in two vectors
    if len(phases) == 2:
        return mixed[0]
    found = []
    for a, b in zip(*mixed, strict=True):
        for start in (0, half):
            found.append(emit.shuffle(a, b, [start + k // 4 * 2 + k % 2 + (k % 4 // 2) * width for k in range(width)]))
    return found


def _for_side(side):
    """The transforms for tiles of side×side results, 4 or 2."""
    taps = 7 - side

    @intrinsic
    def pixels_to_points(typingctx, target, step, source, row_step, top, bottom, low, high):
        """The points of neighbouring tiles, one in each lane; tile t begins side·t pixels right of source.

        Outside the rows top ≤ i < bottom and the columns low ≤ j < high, both counted from source, pixels are zero.
        """
        def generate(context, builder, signature, arguments):
            target, step, source, row_step, top, bottom, low, high = arguments
            emit = _emitter(context, builder, signature, 0)
            width, rows = emit.vector.count, []
            for i in map(_INDEX, range(6)):
                exists = builder.and_(builder.icmp_signed("<=", top, i), builder.icmp_signed("<", i, bottom))
                end, line, vectors = builder.select(exists, high, low), builder.mul(row_step, i), []
                for v in range(side + 1):
                    start = _INDEX(v * width)
                    mask = builder.and_(builder.not_(emit.below(low, start)), emit.below(end, start))
                    vectors.append(emit.load(emit.address(source, line, start), mask))
                phases, after = _apart(emit, vectors[:side]), vectors[side]
                rows.append([phases[j % side] if j < side else
                             emit.shuffle(phases[j % side], after, [*range(j // side, width), *range(
                                 width + j % side, width + j % side + j // side * side, side)]) for j in range(6)])
            _store_points(emit, _both_ways(_Algebra(emit).pixels, rows), target, step)
            return context.get_dummy_value()
        return types.void(target, types.intp, source, *[types.intp] * 5), generate

    @intrinsic
    def points_to_results(typingctx, target, row_step, source, step, bias, rows, columns):
        """The results of each tile, plus the number at bias; those at i < rows and j < columns exist."""
        def generate(context, builder, signature, arguments):
            target, row_step, source, step, bias, rows, columns = arguments
            emit = _emitter(context, builder, signature, 0)
            width, start, algebra = emit.vector.count, emit.broadcast(bias), _Algebra(emit)
            block = _both_ways(lambda p: algebra.results(p, side), _load_points(emit, source, step))
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
            kernel = [[emit.load(emit.address(source, builder.mul(source_step, _INDEX(taps * i + j))), mask)
                       for j in range(taps)] for i in range(taps)]
            _store_points(emit, _both_ways(_Algebra(emit).weights, kernel), target, step, mask)
            return context.get_dummy_value()
        return types.void(target, types.intp, source, types.intp, types.intp), generate

    @intrinsic
    def points_to_weights(typingctx, target, source, step):
        """The gradient of weights from that of their points: weight k of all lanes at target + k·lanes."""
        def generate(context, builder, signature, arguments):
            target, source, step = arguments
            emit = _emitter(context, builder, signature, 0)
            algebra = _Algebra(emit)
            kernel = _both_ways(lambda p: algebra.weights_gradient(p, taps), _load_points(emit, source, step))
            for k, value in enumerate(value for row in kernel for value in row):
                emit.store(value, emit.address(target, k * emit.vector.count))
            return context.get_dummy_value()
        return types.void(target, source, types.intp), generate

    return pixels_to_points, points_to_results, weights_to_points, points_to_weights, _block_to_points(side, "gradient")


def _block_to_points(size, transform):
    @intrinsic
    def to_points(typingctx, target, step, source, row_step, pixel_step):
        """One tile, a channel in each lane, whose pixels are pixel_step and rows row_step apart."""
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


channels_to_points = _block_to_points(6, "pixels")
_pixels4, _results4, _weights4, _gradient_of_weights4, _gradient4 = _for_side(4)
_pixels2, _results2, _weights2, _gradient_of_weights2, _gradient2 = _for_side(2)


# Each of the two, by the side of a tile's results.

@part
def pixels_to_points(side, target, step, source, row_step, top, bottom, low, high):
    if side == 4:
        _pixels4(target, step, source, row_step, top, bottom, low, high)
    else:
        _pixels2(target, step, source, row_step, top, bottom, low, high)


@part
def points_to_results(side, target, row_step, source, step, bias, rows, columns):
    if side == 4:
        _results4(target, row_step, source, step, bias, rows, columns)
    else:
        _results2(target, row_step, source, step, bias, rows, columns)


@part
def weights_to_points(side, target, step, source, source_step, count):
    if side == 4:
        _weights4(target, step, source, source_step, count)
    else:
        _weights2(target, step, source, source_step, count)


@part
def points_to_weights(side, target, source, step):
    if side == 4:
        _gradient_of_weights4(target, source, step)
    else:
        _gradient_of_weights2(target, source, step)


@part
def gradient_to_points(side, target, step, source, row_step, pixel_step):
    if side == 4:
        _gradient4(target, step, source, row_step, pixel_step)
    else:
        _gradient2(target, step, source, row_step, pixel_step)
