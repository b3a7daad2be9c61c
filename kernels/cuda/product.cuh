// The product of two matrices whose elements are looked up by functions, one tile of the result for each block.
//
// An operand is a struct with line(i), place(k) and value(line, place): element k of row i of the left matrix, or of
// column i of the right one, 0 outside. A line is worked out once for each thread, a place once for each step. ALONG_K
// says that elements with neighbouring k lie beside each other in memory; then neighbouring threads fetch those.
//
// A block has 256 threads, as 16 × 16. Each fetches its share of the next K places of M lines and N lines into
// registers while it multiplies those of the step before, which lie in shared memory, in the other of two buffers.
#pragma once

template <int M, int N, int K> struct alignas(32) Tiles {
    Wide left[2][K][M + 4], right[2][K][N + 4];  // + 4: neighbouring k are stored to other banks
};

// n neighbouring numbers, read at once.
template <int n> struct alignas(n * sizeof(Wide) > 16 ? 16 : n * sizeof(Wide)) Pack { Wide at[n]; };

// Each thread has results in packs of up to 4 neighbouring rows and columns.
template <int SIZE> __device__ constexpr int pack() { return SIZE >= 64 ? 4 : SIZE / 16; }
template <int SIZE> __device__ inline int own(int thread, int i) {
    return (i / pack<SIZE>() * 16 + thread) * pack<SIZE>() + i % pack<SIZE>();
}
template <int M> __device__ inline int own_row(int i) { return own<M>(threadIdx.x / 16, i); }
template <int N> __device__ inline int own_column(int j) { return own<N>(threadIdx.x % 16, j); }

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
    __device__ void store(Wide (&tile)[K][SIZE + 4]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++) tile[place(i)][line(i)] = values[i];
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

// sums[i][j] = Σ over k_start ≤ k < k_end of left(m0 + own_row(i), k)·right(n0 + own_column(j), k)
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
#pragma unroll
        for (int step = 0; step < K; step++) {
            Wide a[M / 16], b[N / 16];
            load_own<M>(tiles.left[now][step], threadIdx.x / 16, a);
            load_own<N>(tiles.right[now][step], threadIdx.x % 16, b);
#pragma unroll
            for (int i = 0; i < M / 16; i++)
#pragma unroll
                for (int j = 0; j < N / 16; j++) sums[i][j] += a[i] * b[j];
        }
        if (more) {
            from_left.store(tiles.left[now ^ 1]);
            from_right.store(tiles.right[now ^ 1]);
        }
        __syncthreads();
    }
}
