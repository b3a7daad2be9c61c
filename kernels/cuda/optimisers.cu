// One step of an optimiser for many parameters, in place: every array is read and written once.
#include "common.cuh"

constexpr int MOST = 64;   // parameters of a launch: what it is given has to fit into 4 KiB
constexpr int PART = 2048;  // elements of a block

template <class T> struct Table { T* at[MOST]; };  // an array of each parameter
struct Sizes { int of[MOST]; };

// The elements that are this block's: of one parameter, as each begins with a block of its own.
struct Part {
    int parameter = 0, start, stop;

    __device__ explicit Part(const Sizes& sizes) {
        int block = blockIdx.x;
        for (; block >= divided_up(sizes.of[parameter], PART); parameter++)
            block -= divided_up(sizes.of[parameter], PART);
        start = block * PART;
        stop = min(start + PART, sizes.of[parameter]);
    }
};

// g + weight_decay·p, but g alone without decay: 0·∞ would be NaN.
__device__ Wide decayed(Wide g, Wide weight_decay, Wide p) { return weight_decay ? g + weight_decay * p : g; }

#define FOR_PART(i, part) for (int i = part.start + threadIdx.x; i < part.stop; i += blockDim.x)

extern "C" __global__ void sgd_step(Table<Real> ps, Table<const Real> gs, Table<Real> velocities, Sizes sizes, Wide lr,
                                    Wide momentum, Wide dampening, Wide weight_decay, int nesterov, int maximize,
                                    int first) {
    Part part(sizes);
    Real *p = ps.at[part.parameter], *velocity = velocities.at[part.parameter];
    const Real* g = gs.at[part.parameter];
    FOR_PART(i, part) {
        Wide value = wide(p[i]);
        Wide step = decayed(maximize ? -wide(g[i]) : wide(g[i]), weight_decay, value);
        if (velocity) {
            Wide v = first ? step : momentum * wide(velocity[i]) + (1 - dampening) * step;
            velocity[i] = rounded(v);
            step = nesterov ? step + momentum * v : v;
        }
        p[i] = rounded(value - lr * step);
    }
}

// lr and decay come as they are in this step: lr/(1 − β₁ᵗ), and 1 − lr·weight_decay if decoupled; root is √(1 − β₂ᵗ).
extern "C" __global__ void adam_step(Table<Real> ps, Table<const Real> gs, Table<Real> ms, Table<Real> vs,
                                     Table<Real> v_maxes, Sizes sizes, Wide lr, Wide beta1, Wide beta2, Wide eps,
                                     Wide weight_decay, Wide decay, Wide root, int maximize) {
    Part part(sizes);
    Real *p = ps.at[part.parameter], *m = ms.at[part.parameter], *v = vs.at[part.parameter];
    Real* v_max = v_maxes.at[part.parameter];
    const Real* g = gs.at[part.parameter];
    FOR_PART(i, part) {
        Wide value = wide(p[i]);
        Wide step = decayed(maximize ? -wide(g[i]) : wide(g[i]), weight_decay, value);
        value *= decay;
        Wide mean = beta1 * wide(m[i]) + (1 - beta1) * step, square = beta2 * wide(v[i]) + (1 - beta2) * step * step;
        m[i] = rounded(mean);
        v[i] = rounded(square);
        if (v_max) {
            Wide before = wide(v_max[i]);
            square = before > square || before != before ? before : square;
            v_max[i] = rounded(square);
        }
        p[i] = rounded(value - lr * mean / (sqrt(square) / root + eps));
    }
}
