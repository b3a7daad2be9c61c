// The product of two matrices that lie in memory in either order.
#include "common.cuh"
#include "product.cuh"

// rows·depth of the left matrix and depth·columns of the right one; steps are from line to line and from place to place.
struct Product {
    int rows, depth, columns, left_line, left_place, right_line, right_place;
};

// y = a·b + bias, a tile for each block: grid (rows, columns).
template <bool LEFT_ALONG, bool RIGHT_ALONG>
__device__ void multiply_lines(Tiles<64, 64, 16>& tiles, const Real* a, const Real* b, const Real* bias, Real* y,
                               const Product& p) {
    Lines<LEFT_ALONG> left = {a, p.rows, p.left_line, p.left_place};
    Lines<RIGHT_ALONG> right = {b, p.columns, p.right_line, p.right_place};
    int m0 = blockIdx.x * 64, n0 = blockIdx.y * 64;
    Wide sums[4][4];
    multiply_tiles(tiles, left, right, m0, n0, 0, p.depth, sums);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = m0 + tiles.row(i);
        if (row >= p.rows) continue;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int column = n0 + tiles.column(j);
            if (column < p.columns)
                y[row * p.columns + column] = rounded(sums[i][j] + (bias ? wide(bias[column]) : Wide(0)));
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
multiply(const Real* a, const Real* b, const Real* bias, Real* y, Product p) {
    __shared__ Tiles<64, 64, 16> tiles;
    bool left_along = p.left_place == 1, right_along = p.right_place == 1;
    if (left_along && !right_along) multiply_lines<true, false>(tiles, a, b, bias, y, p);
    else if (!left_along && right_along) multiply_lines<false, true>(tiles, a, b, bias, y, p);
    else if (left_along) multiply_lines<true, true>(tiles, a, b, bias, y, p);
    else multiply_lines<false, false>(tiles, a, b, bias, y, p);
}
