// Softmax of x (M, K, L) over K, and its relatives. A row is what is normalised together. Where L is 1 the 32 lanes of
// a warp share a row, whose elements are neighbours; else each thread has a row, and neighbours are other threads'.
#include "common.cuh"

struct Rows {
    int rows, size, stride, lanes;

    __device__ int first() const { return (blockIdx.x * blockDim.x + threadIdx.x) / lanes; }
    __device__ int step() const { return gridDim.x * blockDim.x / lanes; }
    __device__ int lane() const { return lanes == 1 ? 0 : threadIdx.x % 32; }
    __device__ int at(int row, int k) const { return (row / stride * size + k) * stride + row % stride; }
    __device__ Wide largest(Wide value) const {
        if (lanes > 1)
            for (int step = 16; step; step /= 2) {
                Wide other = __shfl_xor_sync(0xffffffff, value, step);
                value = other > value || other != other ? other : value;
            }
        return value;
    }
    __device__ Wide sum(Wide value) const {
        if (lanes > 1)
            for (int step = 16; step; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
        return value;
    }
};

#define FOR_ROWS(row, r) for (int row = r.first(); row < r.rows; row += r.step())
#define FOR_ROW(k, r) for (int k = r.lane(); k < r.size; k += r.lanes)

// The largest x of a row, and Σ e^(x − largest).
__device__ inline Wide normaliser(const Real* x, const Rows& r, int row, Wide& largest) {
    Wide own = -infinity(), sum = 0;
    FOR_ROW(k, r) {
        Wide v = wide(x[r.at(row, k)]);
        own = v > own || v != v ? v : own;
    }
    largest = r.largest(own);
    FOR_ROW(k, r) sum += exp(wide(x[r.at(row, k)]) - largest);
    return r.sum(sum);
}

extern "C" __global__ void softmax(const Real* x, Real* y, Rows r) {
    FOR_ROWS(row, r) {
        Wide largest, total = normaliser(x, r, row, largest);
        FOR_ROW(k, r) y[r.at(row, k)] = rounded(exp(wide(x[r.at(row, k)]) - largest) / total);
    }
}

extern "C" __global__ void log_softmax(const Real* x, Real* y, Rows r) {
    FOR_ROWS(row, r) {
        Wide largest, total = log(normaliser(x, r, row, largest));
        FOR_ROW(k, r) y[r.at(row, k)] = rounded(wide(x[r.at(row, k)]) - largest - total);
    }
}

extern "C" __global__ void softmax_grad(const Real* gy, const Real* y, Real* gx, Rows r) {
    FOR_ROWS(row, r) {
        Wide sum = 0;
        FOR_ROW(k, r) sum += wide(gy[r.at(row, k)]) * wide(y[r.at(row, k)]);
        sum = r.sum(sum);
        FOR_ROW(k, r) gx[r.at(row, k)] = rounded(wide(y[r.at(row, k)]) * (wide(gy[r.at(row, k)]) - sum));
    }
}

extern "C" __global__ void log_softmax_grad(const Real* gy, const Real* y, Real* gx, Rows r) {
    FOR_ROWS(row, r) {
        Wide sum = 0;
        FOR_ROW(k, r) sum += wide(gy[r.at(row, k)]);
        sum = r.sum(sum);
        FOR_ROW(k, r) gx[r.at(row, k)] = rounded(wide(gy[r.at(row, k)]) - exp(wide(y[r.at(row, k)])) * sum);
    }
}

extern "C" __global__ void cross_entropy(const Real* x, const long long* target, Real* loss, Real* p, Rows r) {
    FOR_ROWS(row, r) {
        Wide largest, total = normaliser(x, r, row, largest);
        long long label = target[row];
        bool counted = label >= 0 && label < r.size;
        FOR_ROW(k, r) p[r.at(row, k)] = rounded(exp(wide(x[r.at(row, k)]) - largest) / total);
        if (r.lane() == 0)
            loss[row] = rounded(counted ? log(total) + largest - wide(x[r.at(row, static_cast<int>(label))]) : Wide(0));
    }
}

extern "C" __global__ void cross_entropy_grad(const Real* gy, const Real* p, const long long* target, Real* gx,
                                              Rows r) {
    FOR_ROWS(row, r) {
        long long label = target[row];
        Wide g = label >= 0 && label < r.size ? wide(gy[row]) : Wide(0);
        FOR_ROW(k, r) {
            Wide share = wide(p[r.at(row, k)]) - (k == label ? 1 : 0);
            gx[r.at(row, k)] = rounded(g != 0 ? g * share : Wide(0));
        }
    }
}
