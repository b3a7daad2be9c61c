// Sums over channels and batch normalisation. x and gy are (N, C, L); a channel's elements are counted n·L + l.
#include "common.cuh"

struct Channels {
    int images, channels, length;
    int per_part;               // elements of a channel that one block sums
    Divisor length_divisor, channel_divisor;

    __device__ int at(int channel, int element) const {
        int image = length_divisor.quotient(element);
        return (image * channels + channel) * length + length_divisor.remainder(element);
    }
    __device__ int channel_of(int index) const { return channel_divisor.remainder(length_divisor.quotient(index)); }
    __device__ int start() const { return blockIdx.y * per_part; }
    __device__ int stop() const { return min(start() + per_part, images * length); }
};

// -- sums, in double: grid (C, parts), parts (parts, C) ---------------------------------------------------------------

extern "C" __global__ void sum_channels(const Real* x, double* parts, Channels c) {
    double sum = 0;
    for (int e = c.start() + threadIdx.x; e < c.stop(); e += blockDim.x) sum += wide(x[c.at(blockIdx.x, e)]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.y * c.channels + blockIdx.x] = sum;
}

extern "C" __global__ void add_channel_parts(Real* sums, const double* parts, int channels, int part_count) {
    FOR_EACH(channel, channels) {
        double sum = 0;
        for (int part = 0; part < part_count; part++) sum += parts[part * channels + channel];
        sums[channel] = rounded(sum);
    }
}

// The mean comes off before the square: no cancellation, however large the mean.
extern "C" __global__ void channel_moments(const Real* x, double* means, double* squares, Channels c) {
    int count = c.stop() - c.start();
    double sum = 0, square = 0;
    for (int e = c.start() + threadIdx.x; e < c.stop(); e += blockDim.x) sum += wide(x[c.at(blockIdx.x, e)]);
    double mean = block_sum(sum) / count;
    for (int e = c.start() + threadIdx.x; e < c.stop(); e += blockDim.x) {
        double d = wide(x[c.at(blockIdx.x, e)]) - mean;
        square += d * d;
    }
    square = block_sum(square);
    if (threadIdx.x == 0) {
        means[blockIdx.y * c.channels + blockIdx.x] = mean;
        squares[blockIdx.y * c.channels + blockIdx.x] = square;
    }
}

// The moments of two sets together, by Chan, Golub & LeVeque (1979), part after part.
extern "C" __global__ void join_moments(Real* mean, Real* variance, const double* means, const double* squares,
                                        Channels c, int part_count) {
    FOR_EACH(channel, c.channels) {
        int total = c.images * c.length, count = min(c.per_part, total);
        double m = means[channel], square = squares[channel];
        for (int part = 1; part < part_count; part++) {
            int more = min(c.per_part, total - count);
            double d = means[part * c.channels + channel] - m, share = double(more) / (count + more);
            m += d * share;
            square += squares[part * c.channels + channel] + d * d * count * share;
            count += more;
        }
        mean[channel] = rounded(m);
        variance[channel] = rounded(square / total);
    }
}

// -- batch normalisation ----------------------------------------------------------------------------------------------

extern "C" __global__ void batch_norm(const Real* x, const Real* mean, const Real* inv_std, const Real* w,
                                      const Real* b, Real* y, int count, int rectify, Channels c) {
    FOR_EACH(i, count) {
        int channel = c.channel_of(i);
        Wide v = (wide(x[i]) - wide(mean[channel])) * wide(inv_std[channel]);
        if (w) v *= wide(w[channel]);
        if (b) v += wide(b[channel]);
        y[i] = rounded(rectify && v <= 0 ? Wide(0) : v);
    }
}

// gy, or 0 where a rectified output y is not positive.
__device__ Wide passed(const Real* gy, const Real* y, int i) { return y && wide(y[i]) <= 0 ? Wide(0) : wide(gy[i]); }

// gw = Σ gy·x̂ and gb = Σ gy of each part.
extern "C" __global__ void sum_gradients(const Real* gy, const Real* x, const Real* y, const Real* mean, const Real* inv_std,
                                         double* gw_parts, double* gb_parts, Channels c) {
    double gw = 0, gb = 0;
    Wide m = wide(mean[blockIdx.x]), s = wide(inv_std[blockIdx.x]);
    for (int e = c.start() + threadIdx.x; e < c.stop(); e += blockDim.x) {
        int i = c.at(blockIdx.x, e);
        Wide g = passed(gy, y, i);
        gw += g * ((wide(x[i]) - m) * s);
        gb += g;
    }
    gw = block_sum(gw);
    gb = block_sum(gb);
    if (threadIdx.x == 0) {
        gw_parts[blockIdx.y * c.channels + blockIdx.x] = gw;
        gb_parts[blockIdx.y * c.channels + blockIdx.x] = gb;
    }
}

extern "C" __global__ void batch_norm_grad(const Real* gy, const Real* x, const Real* y, const Real* mean,
                                           const Real* inv_std, const Real* w, const Real* gw, const Real* gb, Real* gx, int count,
                                           int training, Channels c) {
    Wide m = c.images * c.length;
    FOR_EACH(i, count) {
        int channel = c.channel_of(i);
        Wide s = wide(inv_std[channel]), g = passed(gy, y, i);
        if (training) {
            Wide x_hat = (wide(x[i]) - wide(mean[channel])) * s;
            g -= wide(gb[channel]) / m + x_hat * (wide(gw[channel]) / m);
        }
        gx[i] = rounded(g * s * (w ? wide(w[channel]) : Wide(1)));
    }
}
