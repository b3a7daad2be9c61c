// Kernels with one mistake each, and some without, for the tests of the emulator.

extern "C" __global__ void leaves_before_the_barrier(float* y) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void waits_at_two_barriers(float* y) {
    if (threadIdx.x < 3)
        __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void half_a_warp_shuffles(float* y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffffff, 1.0f, 1);
}

extern "C" __global__ void copies(const float* x, float* y, int shift) { y[(int)threadIdx.x + shift] = x[threadIdx.x]; }

struct Vectors { float* at[3]; };

extern "C" __global__ void fills(Vectors vectors) {
    for (int i = 0; i < 3; i++)
        if (vectors.at[i]) vectors.at[i][threadIdx.x] = i;
}

extern "C" __global__ void shifts_in_place(float* x) { x[threadIdx.x] = x[threadIdx.x + 1]; }

extern "C" __global__ void all_write_one(float* y) { y[0] = 1; }

extern "C" __global__ void all_add_to_one(float* y) { atomicAdd(y, 1.0f); }

extern "C" __global__ void reads_unwritten_shared_memory(float* y) {
    __shared__ float values[33];
    values[threadIdx.x] = 1;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x + 1];
}

#ifdef FORGOTTEN
#define BARRIER
#else
#define BARRIER __syncwarp()
#endif

extern "C" __global__ void turns_a_warp(float* y) {
    __shared__ float values[32];
    values[threadIdx.x] = threadIdx.x;
    __syncwarp();
    float turned = values[31 - threadIdx.x];
    BARRIER;
    values[threadIdx.x] = turned;
    __syncwarp();
    y[threadIdx.x] = values[threadIdx.x];
}

struct Line { int offset, step; };

extern "C" __global__ void line(int* y, Line line) { y[threadIdx.x] = line.offset + line.step * (int)threadIdx.x; }

extern "C" __global__ void places(int* y) {
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

extern "C" __global__ void shuffles(const int* x, int* y) {
    int v = x[threadIdx.x], n = blockDim.x, lane = threadIdx.x;
    y[lane] = __shfl_sync(0xffffffff, v, 5);
    y[n + lane] = __shfl_up_sync(0xffffffff, v, 3);
    y[2 * n + lane] = __shfl_down_sync(0xffffffff, v, 3);
    y[3 * n + lane] = __shfl_xor_sync(0xffffffff, v, 6);
}

// Sums the numbers up to n in every order the threads may take.
extern "C" __global__ void notes_its_turn(int* turn, int* counter) {
    turn[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, 1);
    atomicMax(counter + 1, (int)threadIdx.x);
    atomicMin(counter + 2, -(int)threadIdx.x);
    atomicExch(counter + 3, 7);
    atomicCAS(counter + 4, 0, 5);
}
