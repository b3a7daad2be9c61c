// Sums over channels, batch and group normalisation. x and gy are (N, C, L); a channel's elements are counted n·L + l.
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
extern "C" __global__ void join_moments(Real* mean, Real* variance, Real* inv_std, const double* means,
                                        const double* squares, Wide eps, Channels c, int part_count) {
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
        inv_std[channel] = rounded(1 / sqrt(wide(variance[channel]) + eps));
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

// -- group normalisation: the K·L numbers of a group lie one after the other, a row for each block --------------------

struct Groups {
    int groups, channels, length;  // channels of a group
    Divisor length_divisor;

    __device__ int size() const { return channels * length; }
    __device__ int first() const { return blockIdx.x * size(); }  // of the row
    __device__ int weight_of(int e) const { return blockIdx.x % groups * channels + length_divisor.quotient(e); }
    __device__ double mean(double sum) const { return sum / max(size(), 1); }
};

// x̂ in Wide: what is lost of the mean when it is rounded is added.
struct Normal {
    Wide centre, scale, rest;

    __device__ Normal(double mean, double inv_std)
        : centre(mean), scale(inv_std), rest((centre - mean) * inv_std) {}
    __device__ Wide operator()(Wide x) const { return (x - centre) * scale + rest; }
};

extern "C" __global__ void group_norm(const Real* x, const Real* w, const Real* b, Real* y, double* means,
                                      double* inv_stds, Wide eps, int centred, Groups g) {
    int first = g.first();
    double sum = 0, square = 0;
    for (int e = threadIdx.x; e < g.size(); e += blockDim.x) sum += wide(x[first + e]);
    double mean = centred ? g.mean(block_sum(sum)) : 0;
    for (int e = threadIdx.x; e < g.size(); e += blockDim.x) {
        double d = wide(x[first + e]) - mean;
        square += d * d;
    }
    double inv_std = 1 / sqrt(g.mean(block_sum(square)) + eps);
    if (threadIdx.x == 0) means[blockIdx.x] = mean, inv_stds[blockIdx.x] = inv_std;
    Normal normal(mean, inv_std);
    for (int e = threadIdx.x; e < g.size(); e += blockDim.x) {
        Wide v = normal(wide(x[first + e]));
        if (w) v *= wide(w[g.weight_of(e)]);
        if (b) v += wide(b[g.weight_of(e)]);
        y[first + e] = rounded(v);
    }
}

extern "C" __global__ void group_norm_grad(const Real* gy, const Real* x, const double* means, const double* inv_stds,
                                           const Real* w, Real* gx, int centred, Groups g) {
    Normal normal(means[blockIdx.x], inv_stds[blockIdx.x]);
    int first = g.first();
    auto weighted = [&](int e) { return wide(gy[first + e]) * (w ? wide(w[g.weight_of(e)]) : Wide(1)); };
    double sum = 0, product = 0;
    for (int e = threadIdx.x; e < g.size(); e += blockDim.x) {
        Wide v = weighted(e);
        sum += v;
        product += v * normal(wide(x[first + e]));
    }
    Wide level = centred ? g.mean(block_sum(sum)) : 0, slope = g.mean(block_sum(product));
    for (int e = threadIdx.x; e < g.size(); e += blockDim.x)
        gx[first + e] = rounded(normal.scale * (weighted(e) - level - normal(wide(x[first + e])) * slope));
}

// gw = Σ gy·x̂ and gb = Σ gy of each part of a channel of x (N, G·K, L): grid (channels / across, parts). A block has
// so many channels side by side; where L is small that makes neighbouring threads read neighbouring elements.
extern "C" __global__ void sum_group_gradients(const Real* gy, const Real* x, const double* means,
                                               const double* inv_stds, double* gw_parts, double* gb_parts, int across,
                                               int group_channels, Channels c) {
    __shared__ double gws[256], gbs[256];
    int channel = blockIdx.x * across + threadIdx.x % across, groups = c.channels / group_channels;
    double gw = 0, gb = 0;
    if (channel < c.channels)
        for (int e = c.start() + threadIdx.x / across; e < c.stop(); e += blockDim.x / across) {
            int i = c.at(channel, e), row = c.length_divisor.quotient(e) * groups + channel / group_channels;
            Wide g = wide(gy[i]);
            gw += g * ((wide(x[i]) - means[row]) * inv_stds[row]);
            gb += g;
        }
    gws[threadIdx.x] = gw;
    gbs[threadIdx.x] = gb;
    for (int half = blockDim.x / 2; half >= across; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            gws[threadIdx.x] += gws[threadIdx.x + half];
            gbs[threadIdx.x] += gbs[threadIdx.x + half];
        }
    }
    if (threadIdx.x < across && channel < c.channels) {
        gw_parts[blockIdx.y * c.channels + channel] = gws[threadIdx.x];
        gb_parts[blockIdx.y * c.channels + channel] = gbs[threadIdx.x];
    }
}
