// Functions of single elements, and their gradients.
#include "common.cuh"

__device__ inline Wide normal_distribution(Wide x) { return Wide(0.5) * erfc(x * Wide(-0.70710678118654752)); }

// -- piecewise linear -------------------------------------------------------------------------------------------------
// NaN is neither greater nor less than anything: the comparisons are such that it comes through.

extern "C" __global__ void relu(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v <= 0 ? 0 : v); }
}

extern "C" __global__ void relu_grad(const Real* gy, const Real* y, Real* gx, int n) {
    FOR_EACH(i, n) gx[i] = rounded(wide(y[i]) <= 0 ? 0 : wide(gy[i]));
}

extern "C" __global__ void leaky_relu(const Real* x, Real* y, int n, Wide slope) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v > 0 ? v : slope * v); }
}

extern "C" __global__ void leaky_relu_grad(const Real* gy, const Real* x, Real* gx, int n, Wide slope) {
    FOR_EACH(i, n) { Wide g = wide(gy[i]); gx[i] = rounded(wide(x[i]) > 0 ? g : slope * g); }
}

extern "C" __global__ void hardtanh(const Real* x, Real* y, int n, Wide low, Wide high) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v < low ? low : v > high ? high : v); }
}

extern "C" __global__ void hardtanh_grad(const Real* gy, const Real* y, Real* gx, int n, Wide low, Wide high) {
    FOR_EACH(i, n) { Wide v = wide(y[i]); gx[i] = rounded(v <= low || v >= high ? 0 : wide(gy[i])); }
}

extern "C" __global__ void hardswish(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), gate = v + 3;
        y[i] = rounded(v * (gate < 0 ? 0 : gate > 6 ? 6 : gate) / 6);
    }
}

extern "C" __global__ void hardswish_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), g = wide(gy[i]);
        gx[i] = rounded(v <= -3 ? 0 : v < 3 ? g * (v / 3 + Wide(0.5)) : g);
    }
}

extern "C" __global__ void prelu(const Real* x, const Real* w, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v > 0 ? v : wide(w[i]) * v); }
}

extern "C" __global__ void prelu_grad(const Real* gy, const Real* x, const Real* w, Real* gx, int n) {
    FOR_EACH(i, n) { Wide g = wide(gy[i]); gx[i] = rounded(wide(x[i]) > 0 ? g : wide(w[i]) * g); }
}

extern "C" __global__ void prelu_weight_grad(const Real* gy, const Real* x, Real* gw, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); gw[i] = rounded(v > 0 ? 0 : v * wide(gy[i])); }
}

extern "C" __global__ void hardsigmoid(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide gate = wide(x[i]) + 3; y[i] = rounded((gate < 0 ? 0 : gate > 6 ? 6 : gate) / 6); }
}

extern "C" __global__ void hardsigmoid_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); gx[i] = rounded(v > -3 && v < 3 ? wide(gy[i]) / 6 : 0); }
}

extern "C" __global__ void hardshrink(const Real* x, Real* y, int n, Wide width) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(-width <= v && v <= width ? 0 : v); }
}

extern "C" __global__ void hardshrink_grad(const Real* gy, const Real* x, Real* gx, int n, Wide width) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); gx[i] = rounded(-width <= v && v <= width ? 0 : wide(gy[i])); }
}

extern "C" __global__ void softshrink(const Real* x, Real* y, int n, Wide width) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v - (v < -width ? -width : v > width ? width : v)); }
}

extern "C" __global__ void threshold(const Real* x, Real* y, int n, Wide least, Wide other) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v <= least ? other : v); }
}

extern "C" __global__ void threshold_grad(const Real* gy, const Real* x, Real* gx, int n, Wide least, Wide other) {
    FOR_EACH(i, n) gx[i] = rounded(wide(x[i]) <= least ? 0 : wide(gy[i]));
}

extern "C" __global__ void softsign(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v / (1 + fabs(v))); }
}

extern "C" __global__ void softsign_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide d = 1 + fabs(wide(x[i]));
        gx[i] = rounded(wide(gy[i]) / (d * d + (d - d)));  // NaN at infinity, as y is
    }
}

// -- exponential ------------------------------------------------------------------------------------------------------

extern "C" __global__ void elu(const Real* x, Real* y, int n, Wide alpha, Wide scale, Wide input_scale) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v > 0 ? scale * v : scale * alpha * expm1(input_scale * v)); }
}

extern "C" __global__ void elu_grad(const Real* gy, const Real* x, Real* gx, int n, Wide alpha, Wide scale,
                                    Wide input_scale) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), g = wide(gy[i]);
        gx[i] = rounded(v > 0 ? g * scale : g * (scale * alpha * input_scale) * exp(input_scale * v));
    }
}

extern "C" __global__ void sigmoid(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) y[i] = rounded(sigmoid_of(wide(x[i])));
}

extern "C" __global__ void sigmoid_grad(const Real* gy, const Real* y, Real* gx, int n) {
    FOR_EACH(i, n) { Wide v = wide(y[i]); gx[i] = rounded(wide(gy[i]) * v * (1 - v)); }
}

extern "C" __global__ void tanh_(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) y[i] = rounded(tanh(wide(x[i])));
}

extern "C" __global__ void tanh_grad(const Real* gy, const Real* y, Real* gx, int n) {
    FOR_EACH(i, n) { Wide v = wide(y[i]); gx[i] = rounded(wide(gy[i]) * (1 - v * v)); }
}

extern "C" __global__ void tanhshrink(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v - tanh(v)); }
}

extern "C" __global__ void tanhshrink_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) { Wide t = tanh(wide(x[i])); gx[i] = rounded(wide(gy[i]) * (t * t)); }
}

__device__ inline Wide softplus_of(Wide x) { return (x < 0 ? 0 : x) + log1p(exp(-fabs(x))); }  // log(1 + eˣ)

extern "C" __global__ void softplus(const Real* x, Real* y, int n, Wide beta, Wide threshold) {
    FOR_EACH(i, n) { Wide v = wide(x[i]), z = beta * v; y[i] = rounded(z > threshold ? v : softplus_of(z) / beta); }
}

extern "C" __global__ void softplus_grad(const Real* gy, const Real* x, Real* gx, int n, Wide beta, Wide threshold) {
    FOR_EACH(i, n) {
        Wide z = beta * wide(x[i]), g = wide(gy[i]);
        gx[i] = rounded(z > threshold ? g : g * sigmoid_of(z));
    }
}

extern "C" __global__ void erf_(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) y[i] = rounded(erf(wide(x[i])));
}

extern "C" __global__ void erfc_(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) y[i] = rounded(erfc(wide(x[i])));
}

// -- x times a gate ---------------------------------------------------------------------------------------------------

extern "C" __global__ void silu(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v * sigmoid_of(v)); }
}

extern "C" __global__ void silu_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), s = sigmoid_of(v);
        gx[i] = rounded(wide(gy[i]) * (s * (1 + v * (1 - s))));
    }
}

extern "C" __global__ void gelu(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v * normal_distribution(v)); }
}

extern "C" __global__ void gelu_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), density = exp(Wide(-0.5) * v * v) * Wide(0.39894228040143268);
        gx[i] = rounded(wide(gy[i]) * (normal_distribution(v) + v * density));
    }
}

__device__ inline Wide gelu_gate(Wide x) {  // ½(1 + tanh u) = σ(2u), u = √(2/π)·(x + 0.044715·x³)
    return sigmoid_of(Wide(1.5957691216057308) * (x + Wide(0.044715) * x * x * x));
}

extern "C" __global__ void gelu_tanh(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v * gelu_gate(v)); }
}

extern "C" __global__ void gelu_tanh_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), s = gelu_gate(v), slope = Wide(1.5957691216057308) * (1 + Wide(0.134145) * v * v);
        gx[i] = rounded(wide(gy[i]) * (s + v * (s * (1 - s) * slope)));
    }
}

extern "C" __global__ void mish(const Real* x, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded(v * tanh(softplus_of(v))); }
}

extern "C" __global__ void mish_grad(const Real* gy, const Real* x, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), t = tanh(softplus_of(v));
        gx[i] = rounded(wide(gy[i]) * (t + v * (1 - t * t) * sigmoid_of(v)));
    }
}

// -- of losses --------------------------------------------------------------------------------------------------------

extern "C" __global__ void huber(const Real* d, Real* y, int n, Wide delta) {
    FOR_EACH(i, n) {
        Wide size = fabs(wide(d[i]));
        y[i] = rounded(size < delta ? size * size / 2 : delta * (size - delta / 2));
    }
}

extern "C" __global__ void huber_grad(const Real* gy, const Real* d, Real* gx, int n, Wide delta) {
    FOR_EACH(i, n) {
        Wide v = wide(d[i]);
        gx[i] = rounded(wide(gy[i]) * (v < -delta ? -delta : v > delta ? delta : v));
    }
}

extern "C" __global__ void logistic_loss(const Real* x, const Real* t, Real* y, int n) {
    FOR_EACH(i, n) { Wide v = wide(x[i]); y[i] = rounded((1 - wide(t[i])) * v + softplus_of(-v)); }
}

extern "C" __global__ void logistic_loss_grad(const Real* gy, const Real* x, const Real* t, Real* gx, int n) {
    FOR_EACH(i, n) {
        Wide v = wide(x[i]), target = wide(t[i]), s = sigmoid_of(-fabs(v));
        gx[i] = rounded(wide(gy[i]) * (v < 0 ? s - target : 1 - target - s));
    }
}
