// Connectionist temporal classification (reference/ctc.py tells what it computes): a block for each sequence, frame by
// frame, whose threads share the states. All in double, as logarithms of sums over ever more paths lose digits.
#include "common.cuh"

struct Batch { int frames, sequences, labels, states; };  // T, N, C, L

// A sequence of the batch: its labels, and where its numbers are.
struct Sequence {
    const Batch& batch;
    int index, frames, count;
    const long long* labels;

    __device__ Sequence(const Batch& batch, int index, const long long* states, const long long* frames,
                        const long long* counts)
        : batch(batch), index(index), frames(frames[index]), count(counts[index]),
          labels(states + index * batch.states) {}
    __device__ int row(int frame) const { return (index * batch.frames + frame) * batch.states; }  // of alpha
    __device__ double label(const Real* x, int frame, int s) const {  // its log-probability
        return wide(x[(frame * batch.sequences + index) * batch.labels + static_cast<int>(labels[s])]);
    }
};

// log(e^a + e^b + e^c)
__device__ inline double log_sum(double a, double b, double c) {
    double top = fmax(a, fmax(b, c));
    if (!(top > -infinity())) return a + b + c;  // nothing but −∞ and NaN
    return top + log(exp(a - top) + exp(b - top) + exp(c - top));
}

// log Σ e^ways over the states from which there is a step to s: itself, the one before, the one before that. With
// back = −1 those to which there is a step from s.
template <class Ways> __device__ inline double one_step(const Sequence& q, Ways ways, int s, int back) {
    int one = s - back, two = s - 2 * back;
    bool jumps = two >= 0 && two < q.count && q.labels[two] != q.labels[s];
    return log_sum(ways(s), one >= 0 && one < q.count ? ways(one) : -infinity(), jumps ? ways(two) : -infinity());
}

// log of the probability of all paths: into the last state after the last frame.
__device__ inline double log_total(const Sequence& q, const double* alpha) {
    auto ways = [&](int s) -> double {
        return q.frames > 0 ? alpha[q.row(q.frames - 1) + s] : s == 0 ? 0.0 : -infinity();
    };
    return one_step(q, ways, q.count - 1, 1);
}

extern "C" __global__ void ctc(const Real* x, const long long* states, const long long* frames, const long long* counts,
                               Real* loss, double* alpha, Batch batch) {
    Sequence q(batch, blockIdx.x, states, frames, counts);
    for (int t = 0; t < batch.frames; t++) {
        auto ways = [&](int s) -> double { return t > 0 ? alpha[q.row(t - 1) + s] : s == 0 ? 0.0 : -infinity(); };
        for (int s = threadIdx.x; s < batch.states; s += blockDim.x)
            alpha[q.row(t) + s] = t < q.frames && s < q.count ? one_step(q, ways, s, 1) + q.label(x, t, s)
                                                              : -infinity();
        __syncthreads();  // the next frame goes on from what other threads have written
    }
    if (threadIdx.x == 0) loss[q.index] = rounded(-log_total(q, alpha));
}

// beta (N, T, L), log of the sum over what may follow a state after its frame, and total (N), that over all paths.
extern "C" __global__ void ctc_beta(const Real* x, const long long* states, const long long* frames,
                                    const long long* counts, const double* alpha, double* beta, double* total,
                                    Batch batch) {
    Sequence q(batch, blockIdx.x, states, frames, counts);
    if (threadIdx.x == 0) total[q.index] = log_total(q, alpha);
    for (int t = q.frames - 1; t >= 0; t--) {
        auto ways = [&](int s) -> double {
            if (t < q.frames - 1) return beta[q.row(t + 1) + s] + q.label(x, t + 1, s);
            return s == q.count - 1 ? 0.0 : -infinity();
        };
        for (int s = threadIdx.x; s < q.count; s += blockDim.x) beta[q.row(t) + s] = one_step(q, ways, s, -1);
        __syncthreads();
    }
}

// gx[t, n, label] = gy[n]·(e^x − posterior), which is gathered from the states of the label.
extern "C" __global__ void ctc_grad(const Real* gy, const Real* x, const long long* states, const long long* frames,
                                    const long long* counts, const double* alpha, const double* beta,
                                    const double* total, Real* gx, int count, Batch batch) {
    FOR_EACH(i, count) {
        int label = i % batch.labels, t = i / batch.labels / batch.sequences;
        Sequence q(batch, i / batch.labels % batch.sequences, states, frames, counts);
        double g = wide(gy[q.index]), difference = 0;
        if (t < q.frames && g != 0) {
            difference = exp(static_cast<double>(wide(x[i])));
            for (int s = 0; s < q.count; s++)
                if (q.labels[s] == label) difference -= exp(alpha[q.row(t) + s] + beta[q.row(t) + s] - total[q.index]);
        }
        gx[i] = rounded(g * difference);
    }
}
