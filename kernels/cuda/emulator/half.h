// IEEE half precision for g++, which knows none: 1 sign, 5 exponent and 10 fraction bits.
#pragma once

inline float wide(Half x) {
    unsigned sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7fff;
    if (rest >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);  // infinity, NaN
    float size = rest < 0x400 ? ldexpf(rest, -24) : __uint_as_float((rest << 13) + (112u << 23));
    return sign ? -size : size;
}

// Rounded to nearest, ties to even.
inline Half to_half(float x) {
    unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    unsigned rest;
    if (size > 0x7f800000) rest = 0x7e00;                                            // NaN
    else if (size >= 0x477ff000) rest = 0x7c00;                                      // 65520 and more: infinity
    else if (size < 0x38800000) rest = lrintf(ldexpf(__uint_as_float(size), 24));    // below 2⁻¹⁴: steps of 2⁻²⁴
    else rest = (size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    return {static_cast<unsigned short>(sign | rest)};
}
