// Random numbers by counter: block i of four depends on i and the key alone (Philox 4×32-10, Salmon et al. 2011).
#include "common.cuh"

struct Key { unsigned seed_low, seed_high, stream_low, stream_high; };
struct Four { unsigned word[4]; };

__device__ inline Four philox(unsigned block, Key key) {
    unsigned c0 = block, c1 = 0, c2 = key.stream_low, c3 = key.stream_high, k0 = key.seed_low, k1 = key.seed_high;
    for (int round = 0; round < 10; round++) {
        unsigned even = 0xd2511f53u * c0, odd = 0xcd9e8d57u * c2;
        unsigned even_high = __umulhi(0xd2511f53u, c0), odd_high = __umulhi(0xcd9e8d57u, c2);
        c0 = odd_high ^ c1 ^ k0, c1 = odd, c2 = even_high ^ c3 ^ k1, c3 = even;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    return {{c0, c1, c2, c3}};
}

// The key whose stream is so many on: a number that is read when the kernel runs, so that a graph draws other numbers
// each time it is replayed.
__device__ inline Key advanced(Key key, const unsigned long long* count) {
    if (count) {
        unsigned long long stream = key.stream_low | static_cast<unsigned long long>(key.stream_high) << 32;
        stream += *count;
        key.stream_low = static_cast<unsigned>(stream);
        key.stream_high = static_cast<unsigned>(stream >> 32);
    }
    return key;
}

__device__ inline float uniform(unsigned word) { return (word >> 8) * (1.0f / (1 << 24)); }

// y[i] = x[i]·scale where the i-th number is at least p, else 0.
extern "C" __global__ void dropout(const Real* x, Real* y, int count, Wide p, Wide scale, Key key,
                                   const unsigned long long* streams) {
    key = advanced(key, streams);
    FOR_EACH(block, (count + 3) / 4) {
        Four four = philox(block, key);
        for (int i = 4 * block, j = 0; j < 4 && i < count; i++, j++)
            y[i] = rounded(uniform(four.word[j]) >= static_cast<float>(p) ? wide(x[i]) * scale : Wide(0));
    }
}
