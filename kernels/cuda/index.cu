// Adding at indices, y[index[i]] += v[i], without atomics and in the order of the index. Its entries are sorted by their
// rows; then each row that occurs gathers its own.
//
// What is sorted are keys, row · 2³² + entry: no two are equal, so entries of one row keep their order however it is done.
#include "common.cuh"

constexpr int RUN = 256;  // keys that a block of as many threads sorts

// The keys, every RUN of them in order: the place of each is the number of those that are smaller.
extern "C" __global__ void sort_runs(const long long* index, long long* keys, int count) {
    __shared__ long long run[RUN];
    int start = blockIdx.x * RUN, own = threadIdx.x, size = min(RUN, count - start), place = 0;
    if (own < size) run[own] = index[start + own] << 32 | (start + own);
    __syncthreads();
    if (own >= size) return;
    for (int other = 0; other < size; other++) place += run[other] < run[own];
    keys[start + place] = run[own];
}

// Runs of a length, merged in pairs: the place of a key is that in its own run, and the number of smaller ones in the
// other run.
extern "C" __global__ void merge_runs(const long long* keys, long long* merged, int count, int length) {
    FOR_EACH(i, count) {
        int run = i / length;
        long long start = (run ^ 1) * static_cast<long long>(length);
        int first = min(start, static_cast<long long>(count)), low = first;
        int high = min(start + length, static_cast<long long>(count));
        while (low < high) {
            int middle = low + (high - low) / 2;
            if (keys[middle] < keys[i]) low = middle + 1;
            else high = middle;
        }
        merged[i - run % 2 * length + low - first] = keys[i];
    }
}

// y (M, L), v (entries, L), size elements: the first entry of a row adds up all of them.
extern "C" __global__ void index_add(Real* y, const Real* v, const long long* keys, int size, int entries, int length) {
    FOR_EACH(i, size) {
        int entry = i / length, column = i % length;
        long long row = keys[entry] >> 32;
        if (entry > 0 && keys[entry - 1] >> 32 == row) continue;
        Real& total = y[row * length + column];
        Wide sum = wide(total);
        for (; entry < entries && keys[entry] >> 32 == row; entry++)
            sum += wide(v[static_cast<int>(keys[entry]) * length + column]);
        total = rounded(sum);
    }
}
