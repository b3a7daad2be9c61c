// The product of two matrices whose elements are looked up by functions, one tile of the result for each block.
//
// An operand is a struct with line(i), place(k) and value(line, place): element k of row i of the left matrix, or of
// column i of the right one, 0 outside. A line is worked out once for each thread, a place once for each step. ALONG_K
// says that elements with neighbouring k lie beside each other in memory; then neighbouring threads fetch those.
//
// A block has 256 threads, as 16 × 16. Each fetches its share of the next K places of M lines and N lines into
// registers while it multiplies those of the step before, which lie in shared memory, in the other of two buffers.
#pragma once
#include "tensor.cuh"

// An operand that lies in memory: the rows of the left matrix, or the columns of the right one.
template <bool ALONG> struct Lines {
    const Real* data;
    int count, line_step, place_step;
    static constexpr bool ALONG_K = ALONG;
    typedef int Line;  // −1: none
    typedef int Place;
    __device__ Line line(int index) const { return index < count ? index * line_step : -1; }
    __device__ Place place(int index) const { return index * place_step; }
    __device__ Wide value(Line line, Place place) const { return line >= 0 ? wide(data[line + place]) : Wide(0); }
};

template <bool condition, class A, class B> struct Either { typedef A type; };
template <class A, class B> struct Either<false, A, B> { typedef B type; };

// Results in packs of up to 4 neighbours, for each of 16 threads.
template <int SIZE> __device__ constexpr int pack() { return SIZE >= 64 ? 4 : SIZE / 16; }
template <int SIZE> __device__ inline int own(int thread, int i) {
    return (i / pack<SIZE>() * 16 + thread) * pack<SIZE>() + i % pack<SIZE>();
}

// What a block holds in shared memory, and which results are whose: a thread has (M/16)·(N/16) of them, result (i, j)
// in row(i) and column(j). On tensor cores the 8 warps have 32 rows and 16 columns each, as 2 × 2 products.
template <int M, int N, int K> struct alignas(32) Tiles {
    static constexpr bool TENSOR = TensorCores<Real>::exist && M == 64 && N == 64;
    static constexpr int PAD = TENSOR ? 8 : 4;  // neighbouring k lie in other banks
    typedef typename Either<TENSOR, Real, Wide>::type Element;
    Element left[2][K][M + PAD], right[2][K][N + PAD];

    __device__ static int row(int i) {
        if (TENSOR) return threadIdx.x / 128 * 32 + i / 2 * 16 + i % 2 * 8 + threadIdx.x % 32 / 4;
        return own<M>(threadIdx.x / 16, i);
    }
    __device__ static int column(int j) {
        if (TENSOR) return threadIdx.x / 32 % 4 * 16 + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2;
        return own<N>(threadIdx.x % 16, j);
    }
};

__device__ inline void put(Wide value, Wide& place) {
#ifdef TF32
    place = TensorCores<Real>::exist ? to_tf32(value) : value;
#else
    place = value;
#endif
}
template <class T> __device__ inline void put(Wide value, T& place) { place = rounded(value); }

// n neighbouring numbers, read at once.
template <int n> struct alignas((n & -n) * sizeof(Wide) > 16 ? 16 : (n & -n) * sizeof(Wide)) Pack { Wide at[n]; };

// What one thread fetches of K places of SIZE lines.
template <class Operand, int SIZE, int K> struct Share {
    static constexpr int COUNT = SIZE * K / 256;
    const Operand& operand;
    typename Operand::Line lines[Operand::ALONG_K ? COUNT : 1];
    Wide values[COUNT];

    __device__ Share(const Operand& operand, int first) : operand(operand) {
#pragma unroll
        for (int i = 0; i < (Operand::ALONG_K ? COUNT : 1); i++) lines[i] = operand.line(first + line(i));
    }
    __device__ static int line(int i) {
        int element = threadIdx.x + i * 256;
        return Operand::ALONG_K ? element / K : element % SIZE;
    }
    __device__ static int place(int i) {
        int element = threadIdx.x + i * 256;
        return Operand::ALONG_K ? element % K : element / SIZE;
    }
    __device__ void fetch(int k, int end) {
        if (Operand::ALONG_K) {  // the same place for all of the thread's lines
            auto at = operand.place(k + place(0));
#pragma unroll
            for (int i = 0; i < COUNT; i++) values[i] = k + place(0) < end ? operand.value(lines[i], at) : Wide(0);
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                values[i] = k + place(i) < end ? operand.value(lines[0], operand.place(k + place(i))) : Wide(0);
        }
    }
    template <class Element, int WIDTH> __device__ void store(Element (&tile)[K][WIDTH]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++) put(values[i], tile[place(i)][line(i)]);
    }
};

template <int SIZE>
__device__ inline void load_own(const Wide (&row)[SIZE + 4], int thread, Wide (&values)[SIZE / 16]) {
    constexpr int n = pack<SIZE>();
#pragma unroll
    for (int i = 0; i < SIZE / 16; i += n) {
        Pack<n> some = *reinterpret_cast<const Pack<n>*>(&row[own<SIZE>(thread, i)]);
#pragma unroll
        for (int r = 0; r < n; r++) values[i + r] = some.at[r];
    }
}

// sums += left · right over the K places of a step, each thread by itself.
template <int M, int N, int K>
__device__ inline void multiply_plain(const Wide (&left)[K][M + 4], const Wide (&right)[K][N + 4],
                                      Wide (&sums)[M / 16][N / 16]) {
#pragma unroll
    for (int step = 0; step < K; step++) {
        Wide a[M / 16], b[N / 16];
        load_own<M>(left[step], threadIdx.x / 16, a);
        load_own<N>(right[step], threadIdx.x % 16, b);
#pragma unroll
        for (int i = 0; i < M / 16; i++)
#pragma unroll
            for (int j = 0; j < N / 16; j++) sums[i][j] += a[i] * b[j];
    }
}

// The same by the tensor cores: 2 × 2 products for each warp and 8 places.
template <class T, int K, int WIDTH>
__device__ inline void multiply_tensor(const T (&left)[K][WIDTH], const T (&right)[K][WIDTH], float (&sums)[4][4]) {
    int m0 = threadIdx.x / 128 * 32, n0 = threadIdx.x / 32 % 4 * 16;
#pragma unroll
    for (int k = 0; k < K; k += 8) {
        T a[2][4], b[2][2];
#pragma unroll
        for (int part = 0; part < 2; part++) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[part][i] = left[k + left_place<T>(i)][m0 + part * 16 + left_row<T>(i)];
#pragma unroll
            for (int i = 0; i < 2; i++) b[part][i] = right[k + right_place<T>(i)][n0 + part * 8 + threadIdx.x % 32 / 4];
        }
#pragma unroll
        for (int i = 0; i < 4; i += 2)
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                float sum[4] = {sums[i][j], sums[i][j + 1], sums[i + 1][j], sums[i + 1][j + 1]};
                multiply_add(sum, a[i / 2], b[j / 2]);
                sums[i][j] = sum[0], sums[i][j + 1] = sum[1], sums[i + 1][j] = sum[2], sums[i + 1][j + 1] = sum[3];
            }
    }
}

// sums[i][j] = Σ over k_start ≤ k < k_end of left(m0 + row(i), k)·right(n0 + column(j), k)
template <int M, int N, int K, class Left, class Right>
__device__ void multiply_tiles(Tiles<M, N, K>& tiles, const Left& left, const Right& right, int m0, int n0, int k_start,
                               int k_end, Wide (&sums)[M / 16][N / 16]) {
    Share<Left, M, K> from_left(left, m0);
    Share<Right, N, K> from_right(right, n0);
#pragma unroll
    for (int i = 0; i < M / 16; i++)
#pragma unroll
        for (int j = 0; j < N / 16; j++) sums[i][j] = 0;
    from_left.fetch(k_start, k_end);
    from_right.fetch(k_start, k_end);
    from_left.store(tiles.left[0]);
    from_right.store(tiles.right[0]);
    __syncthreads();
    for (int k = k_start, now = 0; k < k_end; k += K, now ^= 1) {
        bool more = k + K < k_end;
        if (more) {
            from_left.fetch(k + K, k_end);
            from_right.fetch(k + K, k_end);
        }
        if constexpr (Tiles<M, N, K>::TENSOR) multiply_tensor(tiles.left[now], tiles.right[now], sums);
        else multiply_plain<M, N, K>(tiles.left[now], tiles.right[now], sums);
        if (more) {
            from_left.store(tiles.left[now ^ 1]);
            from_right.store(tiles.right[now ^ 1]);
        }
        __syncthreads();
    }
}
