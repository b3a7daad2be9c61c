// One step of an optimiser, in place: every array is read and written once.
#include "common.cuh"

extern "C" __global__ void sgd_step(Real* p, const Real* g, Real* velocity, int count, Wide lr, Wide momentum,
                                    Wide dampening, Wide weight_decay, int nesterov, int maximize, int first) {
    FOR_EACH(i, count) {
        Wide value = wide(p[i]), step = (maximize ? -wide(g[i]) : wide(g[i])) + weight_decay * value;
        if (velocity) {
            Wide v = first ? step : momentum * wide(velocity[i]) + (1 - dampening) * step;
            velocity[i] = rounded(v);
            step = nesterov ? step + momentum * v : v;
        }
        p[i] = rounded(value - lr * step);
    }
}

// lr and decay come as they are in this step: lr/(1 − β₁ᵗ), and 1 − lr·weight_decay if decoupled; root is √(1 − β₂ᵗ).
extern "C" __global__ void adam_step(Real* p, const Real* g, Real* m, Real* v, Real* v_max, int count, Wide lr,
                                     Wide beta1, Wide beta2, Wide eps, Wide weight_decay, Wide decay, Wide root,
                                     int maximize) {
    FOR_EACH(i, count) {
        Wide value = wide(p[i]), step = (maximize ? -wide(g[i]) : wide(g[i])) + weight_decay * value;
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
