// Products of 16×8 by 8×8 numbers, summed in float, by the 32 threads of a warp on the tensor cores of the GPU.
//
// They exist for Half from Turing on and for Bfloat16 from Ampere on. So they do for float where the file is compiled
// with TF32: it is then rounded to the 10 bits of fraction that Half has, but keeps its range.
//
// Which thread holds which numbers is laid down by the instruction (PTX ISA, mma.m16n8k8). With g = lane / 4 and
// t = lane % 4, a thread holds of the sum rows g and g + 8, columns 2t and 2t + 1. Of the factors it holds
//   16 bits   left (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1),   right (2t, g) (2t + 1, g), two to a register;
//   TF32      left (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4),       right (t, g) (t + 4, g).
#pragma once

#ifdef EMULATED
#define __CUDA_ARCH__ 800
#endif

template <class T> struct TensorCores { static constexpr bool exist = false; };
template <> struct TensorCores<Half> { static constexpr bool exist = __CUDA_ARCH__ >= 750; };
template <> struct TensorCores<Bfloat16> { static constexpr bool exist = __CUDA_ARCH__ >= 800; };
#ifdef TF32
template <> struct TensorCores<float> { static constexpr bool exist = __CUDA_ARCH__ >= 800; };
#endif

#ifdef EMULATED
#include "tensor.h"
#else
__device__ inline float to_tf32(float x) {
    unsigned y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return __uint_as_float(y);
}

#define MULTIPLY_16_BITS(T, NAME)                                                                                     \
    __device__ inline void multiply_add(float (&sum)[4], const T (&left)[4], const T (&right)[2]) {                   \
        unsigned a0 = left[0].bits | left[1].bits << 16, a1 = left[2].bits | left[3].bits << 16;                      \
        unsigned b = right[0].bits | right[1].bits << 16;                                                             \
        asm("mma.sync.aligned.m16n8k8.row.col.f32." NAME "." NAME ".f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "           \
            "{%0, %1, %2, %3};"                                                                                       \
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]) : "r"(a0), "r"(a1), "r"(b));                     \
    }
MULTIPLY_16_BITS(Half, "f16")
MULTIPLY_16_BITS(Bfloat16, "bf16")

__device__ inline void multiply_add(float (&sum)[4], const float (&left)[4], const float (&right)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(__float_as_uint(left[0])), "r"(__float_as_uint(left[1])), "r"(__float_as_uint(left[2])),
          "r"(__float_as_uint(left[3])), "r"(__float_as_uint(right[0])), "r"(__float_as_uint(right[1])));
}
#endif

// Where among the 8 places of a step the i-th number of a thread is: of the left factor's 4, of the right factor's 2.
template <class T> __device__ inline int left_row(int i) {
    return threadIdx.x % 32 / 4 + (sizeof(T) == 2 ? i / 2 : i % 2) * 8;
}
template <class T> __device__ inline int left_place(int i) {
    return sizeof(T) == 2 ? threadIdx.x % 4 * 2 + i % 2 : threadIdx.x % 4 + i / 2 * 4;
}
template <class T> __device__ inline int right_place(int i) {
    return sizeof(T) == 2 ? threadIdx.x % 4 * 2 + i : threadIdx.x % 4 + i * 4;
}
