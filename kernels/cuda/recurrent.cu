// Recurrent layers (reference/recurrent.py tells what they compute): one step of time for each launch, its product with
// W_hh and what is made of it at once. The steps wait for each other, but in each of them the features and sequences
// are shared out among all blocks: a block has 16 × 16 threads, for 16 rows and 16 features.
#include "common.cuh"
#include "product.cuh"

// The row and the feature of a thread, and where they are in a matrix that is size wide; a row of gates is wider.
struct Own {
    int row, feature, size;

    __device__ Own(int size)
        : row(blockIdx.x * 16 + threadIdx.x / 16), feature(blockIdx.y * 16 + threadIdx.x % 16), size(size) {}
    __device__ bool exists(int rows) const { return row < rows && feature < size; }
    __device__ int at() const { return row * size + feature; }
    __device__ int gate(int index, int gates) const { return (row * gates + index) * size + feature; }
};

// -- forward: h·w_hhᵀ, of which a thread gets all gates of its feature ------------------------------------------------

template <int GATES> using ForwardTiles = Tiles<16, 16 * GATES, GATES == 1 ? 64 : 32>;

template <int GATES> struct GateRows {  // of w_hh (GATES·size, depth), those of a feature one after the other
    const Real* w;
    int size, depth;
    static constexpr bool ALONG_K = true;
    typedef int Line;  // −1: none
    typedef int Place;
    __device__ Line line(int index) const {
        return index / GATES < size ? (index % GATES * size + index / GATES) * depth : -1;
    }
    __device__ Place place(int index) const { return index; }
    __device__ Wide value(Line line, Place place) const { return line >= 0 ? wide(w[line + place]) : Wide(0); }
};

template <int GATES>
__device__ void see_state(ForwardTiles<GATES>& tiles, const Real* h, const Real* w, int rows, int size, int depth,
                          Wide (&seen)[1][GATES]) {
    Lines<true> left = {h, rows, depth, 1};
    GateRows<GATES> right = {w, size, depth};
    multiply_tiles(tiles, left, right, blockIdx.x * 16, blockIdx.y * 16 * GATES, 0, depth, seen);
}

extern "C" __global__ void __launch_bounds__(256)
rnn_step(Real* y, const Real* h, const Real* w, int relu, int rows, int size) {
    __shared__ ForwardTiles<1> tiles;
    Wide seen[1][1];
    see_state<1>(tiles, h, w, rows, size, size, seen);
    Own own(size);
    if (!own.exists(rows)) return;
    Wide a = wide(y[own.at()]) + seen[0][0];
    y[own.at()] = rounded(relu ? (a <= 0 ? Wide(0) : a) : tanh(a));
}

// What is shown is y, unless there is a projection: then it is yet to be multiplied by it, and h has fewer features.
extern "C" __global__ void __launch_bounds__(256)
lstm_step(Real* gates, const Real* h, const Real* c, const Real* w, Real* shown, Real* cells, int depth, int rows,
          int size) {
    __shared__ ForwardTiles<4> tiles;
    Wide seen[1][4];
    see_state<4>(tiles, h, w, rows, size, depth, seen);
    Own own(size);
    if (!own.exists(rows)) return;
    auto a = [&](int gate) { return wide(gates[own.gate(gate, 4)]) + seen[0][gate]; };
    Wide i = sigmoid_of(a(0)), f = sigmoid_of(a(1)), g = tanh(a(2)), o = sigmoid_of(a(3));
    Wide cell = f * wide(c[own.at()]) + i * g;
    Wide open[4] = {i, f, g, o};
    for (int gate = 0; gate < 4; gate++) gates[own.gate(gate, 4)] = rounded(open[gate]);
    cells[own.at()] = rounded(cell);
    shown[own.at()] = rounded(o * tanh(cell));
}

extern "C" __global__ void __launch_bounds__(256)
gru_step(Real* gates, const Real* h, const Real* w, const Real* b, Real* y, Real* seen_by_n, int rows, int size) {
    __shared__ ForwardTiles<3> tiles;
    Wide seen[1][3];
    see_state<3>(tiles, h, w, rows, size, size, seen);
    Own own(size);
    if (!own.exists(rows)) return;
    for (int gate = 0; gate < 3; gate++) seen[0][gate] += b ? wide(b[gate * size + own.feature]) : Wide(0);
    auto a = [&](int gate) { return wide(gates[own.gate(gate, 3)]); };
    Wide r = sigmoid_of(a(0) + seen[0][0]), z = sigmoid_of(a(1) + seen[0][1]), n = tanh(a(2) + r * seen[0][2]);
    Wide open[3] = {r, z, n};
    for (int gate = 0; gate < 3; gate++) gates[own.gate(gate, 3)] = rounded(open[gate]);
    seen_by_n[own.at()] = rounded(seen[0][2]);
    y[own.at()] = rounded(n + z * (wide(h[own.at()]) - n));
}

// -- backward: what the step after, with so many rows, gives to h: its ga·w_hh ----------------------------------------

typedef Tiles<16, 16, 64> BackwardTiles;

__device__ Wide from_later(BackwardTiles& tiles, const Real* later, int later_rows, const Real* w, int gates,
                           int size) {
    Lines<true> left = {later, later_rows, gates * size, 1};
    Lines<false> right = {w, size, 1, size};
    Wide sum[1][1];
    int m0 = blockIdx.x * 16, depth = m0 < later_rows ? gates * size : 0;
    multiply_tiles(tiles, left, right, m0, blockIdx.y * 16, 0, depth, sum);
    return sum[0][0];
}

extern "C" __global__ void __launch_bounds__(256)
rnn_step_grad(const Real* gy, const Real* gh, const Real* w, const Real* later, int later_rows, const Real* y, Real* ga,
              int relu, int rows, int size) {
    __shared__ BackwardTiles tiles;
    Wide sum = from_later(tiles, later, later_rows, w, 1, size);
    Own own(size);
    if (!own.exists(rows)) return;
    Wide g = wide(gy[own.at()]) + (own.row < later_rows ? sum : wide(gh[own.at()])), h = wide(y[own.at()]);
    ga[own.at()] = rounded(relu ? (h <= 0 ? Wide(0) : g) : g * (1 - h * h));
}

// With a projection gy is the gradient of what is shown, which comes from later steps too: there is neither gh nor later.
extern "C" __global__ void __launch_bounds__(256)
lstm_step_grad(const Real* gy, const Real* gh, Real* gc, const Real* w, const Real* later, int later_rows,
               const Real* gates, const Real* c, const Real* cells, Real* ga, int rows, int size) {
    __shared__ BackwardTiles tiles;
    Wide sum = from_later(tiles, later, later_rows, w, 4, size);
    Own own(size);
    if (!own.exists(rows)) return;
    auto open = [&](int gate) { return wide(gates[own.gate(gate, 4)]); };
    Wide i = open(0), f = open(1), g = open(2), o = open(3), t = tanh(wide(cells[own.at()]));
    Wide gm = wide(gy[own.at()]) + (own.row < later_rows ? sum : gh ? wide(gh[own.at()]) : Wide(0));  // of o·t
    Wide gs = wide(gc[own.at()]) + gm * o * (1 - t * t);                                              // of the cell
    Wide grads[4] = {gs * g * i * (1 - i), gs * wide(c[own.at()]) * f * (1 - f), gs * i * (1 - g * g),
                     gm * t * o * (1 - o)};
    for (int gate = 0; gate < 4; gate++) ga[own.gate(gate, 4)] = rounded(grads[gate]);
    gc[own.at()] = rounded(gs * f);
}

// gh comes as the gradient of the last states, and keeps what each step gives past its gates to the one before.
extern "C" __global__ void __launch_bounds__(256)
gru_step_grad(const Real* gy, Real* gh, const Real* w, const Real* later, int later_rows, const Real* gates,
              const Real* seen_by_n, const Real* h, Real* ga_x, Real* ga_h, int rows, int size) {
    __shared__ BackwardTiles tiles;
    Wide sum = from_later(tiles, later, later_rows, w, 3, size);
    Own own(size);
    if (!own.exists(rows)) return;
    auto open = [&](int gate) { return wide(gates[own.gate(gate, 3)]); };
    Wide r = open(0), z = open(1), n = open(2), g = wide(gy[own.at()]) + wide(gh[own.at()]) + sum;
    Wide gn = g * (1 - z) * (1 - n * n);
    Wide grads[3] = {gn * wide(seen_by_n[own.at()]) * r * (1 - r), g * (wide(h[own.at()]) - n) * z * (1 - z), gn};
    for (int gate = 0; gate < 3; gate++) {
        ga_x[own.gate(gate, 3)] = rounded(grads[gate]);
        ga_h[own.gate(gate, 3)] = rounded(gate == 2 ? gn * r : grads[gate]);
    }
    gh[own.at()] = rounded(g * z);
}
