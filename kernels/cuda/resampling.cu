// Weighted sums of chosen elements: interpolation along an axis, and at any places of an image.
#include "common.cuh"

// y[:, i] = Σ weight[t]·x[:, index[t]] over start[i] ≤ t < start[i + 1];  x (A, N, B), y (A, M, B).
extern "C" __global__ void resample(const Real* x, const long long* start, const long long* index, const Wide* weight,
                                    Real* y, int count, int n, int m, int b) {
    FOR_EACH(i, count) {
        int column = i % b, row = i / b % m;
        const Real* from = x + i / b / m * n * b + column;
        Wide sum = 0;
        for (long long t = start[row]; t < start[row + 1]; t++) sum += weight[t] * wide(from[index[t] * b]);
        y[i] = rounded(sum);
    }
}

struct Samples { int channels, length, taps, points; };  // C, L, K, P; index and w (N, K, P), index −1: no element

// y[n, c, p] = Σ w[n, k, p]·x[n, c, index[n, k, p]] over the taps k.
extern "C" __global__ void sample(const Real* x, const long long* index, const Real* w, Real* y, int count, Samples s) {
    FOR_EACH(i, count) {
        int plane = i / s.points, first = plane / s.channels * s.taps * s.points + i % s.points;
        Wide sum = 0;
        for (int k = 0; k < s.taps; k++) {
            long long at = index[first + k * s.points];
            if (at >= 0) sum += wide(w[first + k * s.points]) * wide(x[plane * s.length + at]);
        }
        y[i] = rounded(sum);
    }
}

// gx[n, c, index[n, k, p]] += w[n, k, p]·gy[n, c, p], a plane for each block of 32 threads.
extern "C" __global__ void sample_input_grad(const Real* gy, const long long* index, const Real* w, Wide* gx,
                                             Samples s) {
    __shared__ long long places[32];
    __shared__ Wide values[32];
    int lane = threadIdx.x, entries = s.taps * s.points, first = blockIdx.x / s.channels * entries;
    const Real* from = gy + blockIdx.x * s.points;
    Wide* plane = gx + blockIdx.x * s.length;
    for (int i = lane; i < s.length; i += 32) plane[i] = 0;
    for (int start = 0; start < entries; start += 32) {
        int entry = start + lane;
        bool exists = entry < entries && index[first + entry] >= 0;
        places[lane] = exists ? index[first + entry] : -1;
        values[lane] = exists ? wide(w[first + entry]) * wide(from[entry % s.points]) : Wide(0);
        add_in_order(places, values, plane);
    }
}

// gw[n, k, p] = Σ gy[n, c, p]·x[n, c, index[n, k, p]] over the channels c.
extern "C" __global__ void sample_weight_grad(const Real* x, const long long* index, const Real* gy, Real* gw,
                                              int count, Samples s) {
    FOR_EACH(i, count) {
        int plane = i / (s.taps * s.points) * s.channels;
        Wide sum = 0;
        for (int c = 0; c < s.channels && index[i] >= 0; c++)
            sum += wide(gy[(plane + c) * s.points + i % s.points]) * wide(x[(plane + c) * s.length + index[i]]);
        gw[i] = rounded(sum);
    }
}
