// What a .cu file may use of CUDA, for g++: included in front of it. The machine that runs it is machine.cpp.
//
// Kernels are `extern "C" __global__ void name(...)`; shared memory is declared with its size (`extern __shared__`
// arrays are not known here).
#pragma once
#include <cfloat>
#include <climits>
#include <math.h>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#define EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static __attribute__((section("shared_memory")))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define UNCHECKED __attribute__((no_sanitize("thread")))  // its accesses to memory are not looked at

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };

namespace emulator {

struct Position { uint3 thread, block; dim3 block_size, grid_size; };
extern Position position;  // of the thread that runs now

struct Parameter { int size, element; };  // bytes of a parameter, and of what it points to (0: it is no pointer)
struct Kernel { void (*call)(void** arguments); int count; const Parameter* parameters; };

struct Location { const char* file; int line; };
void wait_for_block(Location);
void wait_for_warp(unsigned lanes, Location);
void exchange(unsigned lanes, const void* value, void* values, int size, Location);  // values of all 32 lanes
void atomic_access(void* address, int size);

template <class T> struct pointee { static constexpr int size = 0; };
template <class T> struct pointee<T*> { static constexpr int size = sizeof(T); };

template <auto kernel, class F = decltype(kernel)> struct Entry;
template <auto kernel, class... P> struct Entry<kernel, void (*)(P...)> {
    template <size_t... i> UNCHECKED static void spread(void** arguments, std::index_sequence<i...>) {
        kernel(*static_cast<std::remove_reference_t<P>*>(arguments[i])...);
    }
    static void call(void** arguments) { spread(arguments, std::index_sequence_for<P...>{}); }
    static constexpr Parameter parameters[] = {{sizeof(P), pointee<P>::size}..., {0, 0}};
};

}  // namespace emulator

#define EMULATED_KERNEL(name)                                                                                          \
    extern "C" __attribute__((visibility("default"))) const emulator::Kernel name##_entry = {                         \
        emulator::Entry<&name>::call, sizeof(emulator::Entry<&name>::parameters) / sizeof(emulator::Parameter) - 1,   \
        emulator::Entry<&name>::parameters};

#define threadIdx (emulator::position.thread)
#define blockIdx (emulator::position.block)
#define blockDim (emulator::position.block_size)
#define gridDim (emulator::position.grid_size)
constexpr int warpSize = 32;

#define HERE emulator::Location{__FILE__, __LINE__}
#define __syncthreads() emulator::wait_for_block(HERE)
#define __syncwarp(...) emulator::wait_for_warp(emulator::lanes_of(__VA_ARGS__), HERE)
#define __shfl_sync(lanes, value, source) emulator::shuffle(lanes, value, source, HERE)
#define __shfl_up_sync(lanes, value, step) emulator::shuffle(lanes, value, emulator::lane() - (step), HERE)
#define __shfl_down_sync(lanes, value, step) emulator::shuffle(lanes, value, emulator::lane() + (step), HERE)
#define __shfl_xor_sync(lanes, value, mask) emulator::shuffle(lanes, value, emulator::lane() ^ (mask), HERE)

namespace emulator {

inline unsigned lanes_of(unsigned lanes = 0xffffffffu) { return lanes; }

inline int lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

// The value of another lane, or one's own where there is no such lane, as on the GPU.
template <class T> UNCHECKED T shuffle(unsigned lanes, T value, int source, Location location) {
    T values[32];
    int own = lane();
    exchange(lanes, &value, values, sizeof(T), location);
    return values[source < 0 || source > 31 ? own : source];
}

template <class T, class F> UNCHECKED T atomic(T* address, F change) {
    atomic_access(address, sizeof(T));
    T old = *address;
    *address = change(old);
    return old;
}

}  // namespace emulator

template <class T> T atomicAdd(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return old + value; });
}
template <class T> T atomicExch(T* address, T value) { return emulator::atomic(address, [=](T) { return value; }); }
template <class T> T atomicMax(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return old > value ? old : value; });
}
template <class T> T atomicMin(T* address, T value) {
    return emulator::atomic(address, [=](T old) { return old < value ? old : value; });
}
template <class T> T atomicCAS(T* address, T expected, T value) {
    return emulator::atomic(address, [=](T old) { return old == expected ? value : old; });
}

template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned long long>(a) * b >> 32; }
template <class To, class From> UNCHECKED To emulated_bits(From from) {
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
