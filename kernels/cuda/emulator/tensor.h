// What a warp's tensor cores compute, for tensor.cuh: each thread tells its numbers, and takes its part of the product.
#pragma once

inline float to_tf32(float x) {  // to nearest, ties away from zero
    return x == x ? __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu) : x;
}

template <class T> UNCHECKED void multiply_add(float (&sum)[4], const T (&left)[4], const T (&right)[2]) {
    struct Numbers { float left[4], right[2]; } own, all[32];
    for (int i = 0; i < 4; i++) own.left[i] = wide(left[i]);
    for (int i = 0; i < 2; i++) own.right[i] = wide(right[i]);
    emulator::exchange(0xffffffff, &own, all, sizeof own, HERE);
    float a[16][8], b[8][8];
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            if (sizeof(T) == 2) a[g + i / 2 * 8][2 * t + i % 2] = all[lane].left[i];
            else a[g + i % 2 * 8][t + i / 2 * 4] = all[lane].left[i];
        }
        for (int i = 0; i < 2; i++) b[sizeof(T) == 2 ? 2 * t + i : t + 4 * i][g] = all[lane].right[i];
    }
    int g = emulator::lane() / 4, t = emulator::lane() % 4;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++) sum[i] += a[g + i / 2 * 8][k] * b[k][2 * t + i % 2];
}
