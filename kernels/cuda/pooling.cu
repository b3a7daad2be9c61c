// Pooling over any windows. Output (i, j) looks at rows row_start[i] … row_stop[i] of the image in steps, columns
// likewise. bounds holds row_start, row_stop (OH each), column_start, column_stop (OW each).
#include "common.cuh"

struct Pooling { int height, width, out_height, out_width, row_step, column_step; };

struct Window {
    int top, bottom, left, right;
    __device__ Window(const int* bounds, const Pooling& p, int output) {
        int i = output / p.out_width % p.out_height, j = output % p.out_width;
        top = bounds[i], bottom = bounds[p.out_height + i];
        left = bounds[2 * p.out_height + j], right = bounds[2 * p.out_height + p.out_width + j];
    }
};

// The first of the largest, the last NaN.
extern "C" __global__ void max_pool2d(const Real* x, const int* bounds, Real* y, long long* index, int count,
                                      Pooling p) {
    FOR_EACH(output, count) {
        Window window(bounds, p, output);
        const Real* plane = x + output / (p.out_height * p.out_width) * p.height * p.width;
        int place = window.top * p.width + window.left;
        Wide largest = wide(plane[place]);
        for (int h = window.top; h < window.bottom; h += p.row_step)
            for (int w = window.left; w < window.right; w += p.column_step) {
                Wide v = wide(plane[h * p.width + w]);
                if (v > largest || v != v) {
                    largest = v;
                    place = h * p.width + w;
                }
            }
        y[output] = plane[place];
        index[output] = place;
    }
}

extern "C" __global__ void pool_gather(const Real* x, const long long* index, Real* y, int count, int pixels,
                                       int outputs) {
    FOR_EACH(output, count) y[output] = x[output / outputs * pixels + index[output]];
}

// gx[index] += gy, a plane for each block of 32 threads.
extern "C" __global__ void pool_scatter(const Real* gy, const long long* index, Wide* gx, int pixels, int outputs) {
    __shared__ long long places[32];
    __shared__ Wide values[32];
    Wide* plane = gx + blockIdx.x * pixels;
    int lane = threadIdx.x;
    for (int i = lane; i < pixels; i += 32) plane[i] = 0;
    for (int start = 0; start < outputs; start += 32) {
        int output = blockIdx.x * outputs + start + lane;
        bool exists = start + lane < outputs;
        places[lane] = exists ? index[output] : -1;
        values[lane] = exists ? wide(gy[output]) : Wide(0);
        add_in_order(places, values, plane);
    }
}

extern "C" __global__ void avg_pool2d(const Real* x, const int* bounds, const Wide* divisor, Real* y, int count,
                                      Pooling p) {
    FOR_EACH(output, count) {
        Window window(bounds, p, output);
        int outputs = p.out_height * p.out_width;
        const Real* plane = x + output / outputs * p.height * p.width;
        Wide sum = 0;
        for (int h = window.top; h < window.bottom; h += p.row_step)
            for (int w = window.left; w < window.right; w += p.column_step) sum += wide(plane[h * p.width + w]);
        y[output] = rounded(sum / divisor[output % outputs]);
    }
}

// Each pixel gathers from the windows it lies in. reach holds the first and the last + 1 of the windows that contain
// each row (H each), and each column (W each).
extern "C" __global__ void avg_pool2d_grad(const Real* gy, const int* bounds, const int* reach, const Wide* divisor,
                                           Real* gx, int count, Pooling p) {
    const int *row_start = bounds, *row_stop = row_start + p.out_height;
    const int *column_start = row_stop + p.out_height, *column_stop = column_start + p.out_width;
    const int *row_reach = reach, *column_reach = reach + 2 * p.height;
    FOR_EACH(pixel, count) {
        int h = pixel / p.width % p.height, w = pixel % p.width;
        const Real* plane = gy + pixel / (p.height * p.width) * p.out_height * p.out_width;
        Wide sum = 0;
        for (int i = row_reach[h]; i < row_reach[p.height + h]; i++) {
            if (h < row_start[i] || h >= row_stop[i] || (h - row_start[i]) % p.row_step) continue;
            for (int j = column_reach[w]; j < column_reach[p.width + w]; j++)
                if (w >= column_start[j] && w < column_stop[j] && (w - column_start[j]) % p.column_step == 0)
                    sum += wide(plane[i * p.out_width + j]) / divisor[i * p.out_width + j];
        }
        gx[pixel] = rounded(sum);
    }
}
