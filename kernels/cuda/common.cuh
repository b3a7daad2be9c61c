// What all kernels share: the type of the arrays, and loops over them.
//
// A file is compiled once for each type of arrays, given from outside as REAL (float, double, Half, Bfloat16, or
// long long where there are no fractions). Arrays hold Real; everything is computed in Wide, which is float for all of
// less than 8 bytes, and rounded once.
#pragma once

// -- half precision, as it is stored ----------------------------------------------------------------------------------

struct Half { unsigned short bits; };
struct Bfloat16 { unsigned short bits; };

__device__ inline float wide(float x) { return x; }
__device__ inline double wide(double x) { return x; }
__device__ inline long long wide(long long x) { return x; }

__device__ inline float wide(Bfloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

#ifdef EMULATED
#include "half.h"
#else
__device__ inline float wide(Half x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
__device__ inline Half to_half(float x) {
    Half y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
#endif

// The upper half of a float, rounded to nearest, ties to even. NaN keeps its upper bits, and stays NaN.
__device__ inline Bfloat16 to_bfloat16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return {static_cast<unsigned short>(bits >> 16 | 0x40)};
    return {static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <class T> struct Conversion { static __device__ T round(T x) { return x; } };
template <> struct Conversion<Half> { static __device__ Half round(float x) { return to_half(x); } };
template <> struct Conversion<Bfloat16> { static __device__ Bfloat16 round(float x) { return to_bfloat16(x); } };

typedef REAL Real;
typedef decltype(wide(Real())) Wide;
__device__ inline Real rounded(Wide x) { return Conversion<Real>::round(x); }

__device__ inline Wide infinity() { return __uint_as_float(0x7f800000); }

template <class Float> __device__ inline Float sigmoid_of(Float x) {
    Float e = exp(-fabs(x));  // never above 1
    return (x < 0 ? e : 1) / (1 + e);
}

// -- loops and sums ---------------------------------------------------------------------------------------------------

// Every i below n, shared out among all threads of the grid.
#define FOR_EACH(i, n)                                                                                                \
    for (int i = blockIdx.x * blockDim.x + threadIdx.x, i##_end = (n); i < i##_end; i += gridDim.x * blockDim.x)

__device__ inline int divided_up(int a, int b) { return (a + b - 1) / b; }

// Division by a number that is the same for all threads, as a multiplication: q = (⌊n·multiplier / 2³²⌋ + n) >> shift
// for 0 ≤ n < 2³¹ (Granlund & Montgomery 1994).
struct Divisor {
    unsigned value, multiplier, shift;

    __device__ int quotient(int n) const { return (__umulhi(n, multiplier) + n) >> shift; }
    __device__ int remainder(int n) const { return n - quotient(n) * static_cast<int>(value); }
};

// The sum of a value over all threads of the block, which are a multiple of 32, in an order that never changes. Sums of
// so many numbers that float would lose digits are double: what they are made of comes from memory, which is slower.
__device__ static double block_sum(double value) {
    __shared__ double of_warp[32];
    int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int step = 16; step; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
    if (threadIdx.x % 32 == 0) of_warp[warp] = value;
    __syncthreads();
    double sum = 0;
    for (int i = 0; i < warps; i++) sum += of_warp[i];
    __syncthreads();  // the next sum goes to the same place
    return sum;
}

// sums[places[i]] += values[i] by a block of 32 threads, each of which has set its own place (−1: none) and value. The
// first of those with the same place adds up all of them, in their order.
__device__ inline void add_in_order(const long long (&places)[32], const Wide (&values)[32], Wide* sums) {
    int lane = threadIdx.x;
    __syncthreads();
    Wide sum = 0;
    bool first = places[lane] >= 0;
    for (int other = 0; other < 32; other++)
        if (places[other] == places[lane]) {
            first = first && other >= lane;
            sum += values[other];
        }
    if (first) sums[places[lane]] += sum;
    __syncthreads();  // also before sums are touched again
}
