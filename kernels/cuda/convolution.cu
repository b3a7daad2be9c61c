// Convolution, its two gradients, and im2col with its adjoint: every thread gathers what its own results need, so that
// nothing is added up in an order left to chance.
#include "common.cuh"
#include "product.cuh"

// -- im2col and col2im ------------------------------------------------------------------------------------------------

struct Windows {
    int height, width, kernel_rows, kernel_columns, out_height, out_width;
    int stride_rows, stride_columns, top, left, dilation_rows, dilation_columns;
};

// One element of cols (N, C, KH, KW, OH, OW) each.
extern "C" __global__ void im2col(const Real* x, Real* cols, Windows g, int count) {
    FOR_EACH(i, count) {
        int rest = i;
        int column = rest % g.out_width; rest /= g.out_width;
        int row = rest % g.out_height; rest /= g.out_height;
        int kernel_column = rest % g.kernel_columns; rest /= g.kernel_columns;
        int kernel_row = rest % g.kernel_rows; rest /= g.kernel_rows;  // what is left counts the planes of x
        int h = row * g.stride_rows - g.top + kernel_row * g.dilation_rows;
        int w = column * g.stride_columns - g.left + kernel_column * g.dilation_columns;
        bool inside = h >= 0 && h < g.height && w >= 0 && w < g.width;
        cols[i] = inside ? x[(rest * g.height + h) * g.width + w] : rounded(0);
    }
}

// One pixel of x (N, C, H, W) each: the sum of all its copies in cols.
extern "C" __global__ void col2im(const Real* cols, Real* x, Windows g, int count) {
    FOR_EACH(i, count) {
        int w = i % g.width, h = i / g.width % g.height;
        int plane = i / g.width / g.height;
        Wide sum = 0;
        for (int kernel_row = 0; kernel_row < g.kernel_rows; kernel_row++) {
            int down = h + g.top - kernel_row * g.dilation_rows, row = down / g.stride_rows;
            if (down < 0 || down % g.stride_rows || row >= g.out_height) continue;
            for (int kernel_column = 0; kernel_column < g.kernel_columns; kernel_column++) {
                int right = w + g.left - kernel_column * g.dilation_columns, column = right / g.stride_columns;
                if (right < 0 || right % g.stride_columns || column >= g.out_width) continue;
                int tap = (plane * g.kernel_rows + kernel_row) * g.kernel_columns + kernel_column;
                sum += wide(cols[(tap * g.out_height + row) * g.out_width + column]);
            }
        }
        x[i] = rounded(sum);
    }
}

// -- correlation: what convolution and its input gradient both are ----------------------------------------------------

// target[n, o, i, j] = bias[o] + Σ over c, p, q of weight[o, c, p, q] · source[n, c, i·step + p·tap_step + start, …],
// outside of which the source is zero, for a grid of target pixels (first + i·stride, …); rows, then columns.
struct Correlation {
    int images, groups, outputs, inputs;                // channels of one group
    int rectify;                                        // whether the result is max(target, 0)
    int source_rows, source_columns, target_rows, target_columns;
    int rows, columns, first_row, first_column, row_stride, column_stride;  // the pixels of the target to compute
    int row_start, column_start, row_step, column_step, row_tap_step, column_tap_step;
    int tap_rows, tap_columns;
    int weight_start, weight_group, weight_output, weight_input, weight_row, weight_column;  // where in the array
    Divisor taps, tap_columns_divisor;                  // tap_rows·tap_columns, tap_columns
    Divisor pixels, columns_divisor;                    // rows·columns, columns
};

// A target pixel, as the place in the source that its first tap sees.
struct Pixel {
    int image;                                          // where the channels of the group begin in the source
    int row, column;
    bool exists;
};

__device__ inline Pixel pixel_of(const Correlation& c, int group, int index) {
    int image = c.pixels.quotient(index), rest = c.pixels.remainder(index);
    int i = c.columns_divisor.quotient(rest), j = c.columns_divisor.remainder(rest);
    int plane = c.source_rows * c.source_columns;
    return {(image * c.groups + group) * c.inputs * plane, i * c.row_step + c.row_start,
            j * c.column_step + c.column_start, image < c.images};
}

// An input channel and a tap of the kernel, as distances in the source and in the weights.
struct Tap {
    int channel, row, column, weight;
    bool exists;
};

__device__ inline Tap tap_of(const Correlation& c, int index) {
    int input = c.taps.quotient(index), tap = c.taps.remainder(index);
    int p = c.tap_columns_divisor.quotient(tap), q = c.tap_columns_divisor.remainder(tap);
    return {input * c.source_rows * c.source_columns, p * c.row_tap_step, q * c.column_tap_step,
            input * c.weight_input + p * c.weight_row + q * c.weight_column, input < c.inputs};
}

__device__ inline Wide seen(const Correlation& c, const Real* source, const Pixel& pixel, const Tap& tap) {
    int row = pixel.row + tap.row, column = pixel.column + tap.column;
    bool exists = pixel.exists && tap.exists;
    bool inside = row >= 0 && row < c.source_rows && column >= 0 && column < c.source_columns;
    return exists && inside ? wide(source[pixel.image + tap.channel + row * c.source_columns + column]) : Wide(0);
}

__device__ inline int target_of(const Correlation& c, int group, int output, int index) {
    int image = c.pixels.quotient(index), rest = c.pixels.remainder(index);
    int row = c.first_row + c.columns_divisor.quotient(rest) * c.row_stride;
    int column = c.first_column + c.columns_divisor.remainder(rest) * c.column_stride;
    int plane = (image * c.groups + group) * c.outputs + output;
    return (plane * c.target_rows + row) * c.target_columns + column;
}

__device__ inline Real finished(const Correlation& c, Wide sum) { return rounded(c.rectify && sum <= 0 ? Wide(0) : sum); }

struct Weights {  // a row for each output channel, a column for each tap
    const Correlation& c;
    const Real* weight;
    static constexpr bool ALONG_K = true;
    typedef int Line;
    typedef Tap Place;
    __device__ Line line(int output) const { return output < c.outputs ? output * c.weight_output : -1; }
    __device__ Place place(int index) const { return tap_of(c, index); }
    __device__ Wide value(Line line, const Place& tap) const {
        return line >= 0 && tap.exists ? wide(weight[line + tap.weight]) : Wide(0);
    }
};

struct Columns {  // the matrix of im2col, a line for each pixel: never stored, but looked up in the source
    const Correlation& c;
    const Real* source;
    int group;
    static constexpr bool ALONG_K = false;
    typedef Pixel Line;
    typedef Tap Place;
    __device__ Line line(int index) const { return pixel_of(c, group, index); }
    __device__ Place place(int index) const { return tap_of(c, index); }
    __device__ Wide value(const Line& pixel, const Place& tap) const { return seen(c, source, pixel, tap); }
};

// The product weights · columns, a tile of M outputs and N pixels for each block: grid (pixels·groups, outputs).
template <int M, int N, int K>
__device__ void correlate(Tiles<M, N, K>& tiles, const Real* source, const Real* weight, const Real* bias, Real* target,
                          const Correlation& c) {
    int count = c.images * c.rows * c.columns, across = divided_up(count, N);
    int group = blockIdx.x / across, n0 = blockIdx.x % across * N, m0 = blockIdx.y * M;
    Weights left = {c, weight + c.weight_start + group * c.weight_group};
    Columns right = {c, source, group};
    Wide sums[M / 16][N / 16];
    multiply_tiles(tiles, left, right, m0, n0, 0, c.inputs * c.tap_rows * c.tap_columns, sums);
#pragma unroll
    for (int j = 0; j < N / 16; j++) {
        int pixel = n0 + tiles.column(j);
        if (pixel >= count) continue;
#pragma unroll
        for (int i = 0; i < M / 16; i++) {
            int output = m0 + tiles.row(i);
            if (output < c.outputs)
                target[target_of(c, group, output, pixel)] =
                    finished(c, sums[i][j] + (bias ? wide(bias[group * c.outputs + output]) : Wide(0)));
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
correlate_wide(const Real* source, const Real* weight, const Real* bias, Real* target, Correlation c) {
    __shared__ Tiles<64, 64, 16> tiles;
    correlate(tiles, source, weight, bias, target, c);
}

extern "C" __global__ void __launch_bounds__(256)
correlate_narrow(const Real* source, const Real* weight, const Real* bias, Real* target, Correlation c) {
    __shared__ Tiles<16, 128, 16> tiles;
    correlate(tiles, source, weight, bias, target, c);
}

// One target pixel for each thread, where a group has so few outputs (depthwise: one) that tiles would be mostly empty.
extern "C" __global__ void correlate_single(const Real* source, const Real* weight, const Real* bias, Real* target,
                                            Correlation c, int count) {
    FOR_EACH(i, count) {
        int pixels = c.images * c.rows * c.columns, index = i % pixels, channel = i / pixels;
        int group = channel / c.outputs, output = channel % c.outputs;
        Pixel pixel = pixel_of(c, group, index);
        const Real* own = weight + c.weight_start + group * c.weight_group + output * c.weight_output;
        Wide sum = bias ? wide(bias[channel]) : Wide(0);
        for (int k = 0; k < c.inputs * c.tap_rows * c.tap_columns; k++) {
            Tap tap = tap_of(c, k);
            sum += wide(own[tap.weight]) * seen(c, source, pixel, tap);
        }
        target[target_of(c, group, output, index)] = finished(c, sum);
    }
}

// -- weight gradient --------------------------------------------------------------------------------------------------
// Of y = conv2d(x, w), whose Correlation has source x and target y: gw[o, tap] = Σ over pixels of gy[o, pixel]·x seen.

struct Outputs {  // gy, a line for each output channel of the group
    const Correlation& c;
    const Real* gy;
    int group;
    static constexpr bool ALONG_K = true;
    typedef int Line;
    typedef int Place;  // −1: none
    __device__ Line line(int output) const { return output < c.outputs ? output * c.rows * c.columns : -1; }
    __device__ Place place(int index) const {
        int image = c.pixels.quotient(index);
        return image < c.images ? target_of(c, group, 0, index) : -1;
    }
    __device__ Wide value(Line line, Place pixel) const {
        return line >= 0 && pixel >= 0 ? wide(gy[pixel + line]) : Wide(0);
    }
};

struct Rows {  // the matrix of im2col once more, a line for each tap
    const Correlation& c;
    const Real* x;
    int group;
    static constexpr bool ALONG_K = true;
    typedef Tap Line;
    typedef Pixel Place;
    __device__ Line line(int index) const { return tap_of(c, index); }
    __device__ Place place(int index) const { return pixel_of(c, group, index); }
    __device__ Wide value(const Line& tap, const Place& pixel) const { return seen(c, x, pixel, tap); }
};

// The product gy · rowsᵀ over the pixels of one part, of which there are many, so that enough blocks have work:
// parts (parts, O, C/groups·KH·KW), grid (taps · groups, outputs, parts).
template <int M, int N, int K>
__device__ void sum_weights(Tiles<M, N, K>& tiles, const Real* x, const Real* gy, Wide* parts, const Correlation& c,
                            int pixels_per_part) {
    int count = c.images * c.rows * c.columns, taps = c.inputs * c.tap_rows * c.tap_columns;
    int across = divided_up(taps, N);
    int group = blockIdx.x / across, n0 = blockIdx.x % across * N, m0 = blockIdx.y * M;
    int start = blockIdx.z * pixels_per_part;
    Outputs left = {c, gy, group};
    Rows right = {c, x, group};
    Wide sums[M / 16][N / 16];
    multiply_tiles(tiles, left, right, m0, n0, start, min(start + pixels_per_part, count), sums);
#pragma unroll
    for (int i = 0; i < M / 16; i++) {
#pragma unroll
        for (int j = 0; j < N / 16; j++) {
            int output = m0 + tiles.row(i), tap = n0 + tiles.column(j);
            if (output < c.outputs && tap < taps)
                parts[((blockIdx.z * c.groups + group) * c.outputs + output) * taps + tap] = sums[i][j];
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
sum_weights_wide(const Real* x, const Real* gy, Wide* parts, Correlation c, int pixels_per_part) {
    __shared__ Tiles<64, 64, 16> tiles;
    sum_weights(tiles, x, gy, parts, c, pixels_per_part);
}

extern "C" __global__ void __launch_bounds__(256)
sum_weights_narrow(const Real* x, const Real* gy, Wide* parts, Correlation c, int pixels_per_part) {
    __shared__ Tiles<16, 64, 16> tiles;
    sum_weights(tiles, x, gy, parts, c, pixels_per_part);
}

// gw = the sum of all parts, in their order.
extern "C" __global__ void add_parts(Real* gw, const Wide* parts, int count, int part_count) {
    FOR_EACH(i, count) {
        Wide sum = 0;
        for (int part = 0; part < part_count; part++) sum += parts[part * count + i];
        gw[i] = rounded(sum);
    }
}

// One weight for each block, where a group has few outputs: grid (C/groups·KH·KW, O).
extern "C" __global__ void sum_weights_single(const Real* x, const Real* gy, Real* gw, Correlation c) {
    int group = blockIdx.y / c.outputs, output = blockIdx.y % c.outputs;
    Tap tap = tap_of(c, blockIdx.x);
    Wide sum = 0;
    for (int index = threadIdx.x; index < c.images * c.rows * c.columns; index += blockDim.x)
        sum += wide(gy[target_of(c, group, output, index)]) * seen(c, x, pixel_of(c, group, index), tap);
    sum = block_sum(sum);
    if (threadIdx.x == 0) gw[blockIdx.y * gridDim.x + blockIdx.x] = rounded(sum);
}
