"""Write a CUDA kernel and run it without a GPU: threads, shared memory, barriers, and the mistakes one makes there."""

# %% The emulator is g++ and a machine that sees every access to memory. Nothing of NVIDIA's is needed.
import shutil
import sys

import numpy as np

import minicnn as mc
from minicnn.functional import conv2d
from minicnn.kernels.cuda.emulator import CudaError, Library, thread_order

if shutil.which("g++") is None:
    print("this step needs g++, which compiles the kernels: apt install g++, or your system's C++ compiler")
    sys.exit()


def mistake(source: str, name: str, *launch: object) -> str:
    """What the emulator says of a kernel that does what it must not."""
    try:
        Library(source).launch(name, *launch)
    except CudaError as error:
        return str(error)
    raise AssertionError(f"{name}: a mistake was not found")


# %% A kernel is what one thread does. Blocks of threads cover the array, and the last block reaches beyond its end.
RELU = """
extern "C" __global__ void relu(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;        // which element is mine
    if (i < n) y[i] = x[i] > 0 ? x[i] : 0;
}
"""
rng = np.random.default_rng(0)
x, y = rng.standard_normal(1000).astype(np.float32), np.empty(1000, np.float32)  # (1000,)
arguments = [x, y, np.int32(1000)]                        # arrays are pointers, numbers have the type of the kernel's
Library(RELU).launch("relu", (4,), (256,), arguments)     # 4 blocks of 256 threads: 24 of them have nothing to do
assert np.array_equal(y, np.maximum(x, 0))
print("relu of 1000 numbers by 1024 threads: right")

# %% Forget the check, and a GPU reads and writes what belongs to somebody else, mostly without a word.
print("\nwithout i < n:", mistake(RELU.replace("if (i < n) ", ""), "relu", (4,), (256,), arguments))

# %% Threads that work together: the gradient of a convolution's bias, gb[c] = Σ gy[n,c,l] over images and pixels.
# One block for each channel. Each thread adds up every 64th element for itself, in a register; then the 64 sums are
# added as a tree in memory that the block shares, half as many threads in each round, with a barrier between rounds.
BIAS_GRAD = """
extern "C" __global__ void bias_grad(const float* gy, float* gb, int N, int C, int L) {
    __shared__ float sums[64];
    int c = blockIdx.x, t = threadIdx.x;
    float sum = 0;
    for (int k = t; k < N * L; k += 64)                   // gy is (N, C, L): neighbours in l for neighbours in t
        sum += gy[(k / L * C + c) * L + k % L];
    sums[t] = sum;
    __syncthreads();                                      // nobody reads before everybody has written
    for (int half = 32; half > 0; half /= 2) {
        if (t < half) sums[t] += sums[t + half];
        __syncthreads();
    }
    if (t == 0) gb[c] = sums[0];
}
"""
images = mc.randn(2, 3, 9, 8)                             # (N, C, H, W)
w, b = mc.randn(4, 3, 3, 3), mc.zeros(4, requires_grad=True)
out = conv2d(images, w, b)                                # (2, 4, 7, 6)
gy = rng.standard_normal(out.shape).astype(np.float32)    # the gradient that comes from above
out.backward(mc.tensor(gy))

kernels, gb = Library(BIAS_GRAD), np.empty(4, np.float32)
launch = (4,), (64,), [gy, gb, *np.array([2, 4, 7 * 6], np.int32)]  # a block for each channel
for seed in range(4):                                     # threads in another order each time: the same result
    with thread_order(seed):
        gb.fill(np.nan)
        kernels.launch("bias_grad", *launch)
    assert np.allclose(gb, b.grad.numpy(), atol=1e-4)
print("\ngb by the kernel ", gb.round(4), "\ngb by minicnn    ", b.grad.numpy().round(4))

# %% Leave out the barrier between the rounds. On a GPU the sum is wrong now and then, and right while you look: a race.
print("\nwithout __syncthreads():", mistake(BIAS_GRAD.replace("        __syncthreads();\n", ""), "bias_grad", *launch))

# %% A barrier that only some threads reach hangs a GPU, or worse.
divergent = BIAS_GRAD.replace("if (t < half) sums", "if (t >= half) return; sums")
print("\nif some leave early:", mistake(divergent, "bias_grad", *launch))

# %% Shared memory holds whatever was there before: all of it has to be written first.
print("\nwith 63 threads:", mistake(BIAS_GRAD, "bias_grad", launch[0], (63,), launch[2]))

# %% On a GPU the same text runs through CuPy, with arrays of the GPU in the place of NumPy's:
#     kernel = cupy.RawModule(code=BIAS_GRAD).get_function("bias_grad")
#     kernel((4,), (64,), (cupy.asarray(gy), cupy.asarray(gb), 2, 4, 42))
# minicnn's own kernels, in kernels/cuda, are tested like this; a network runs on them, slowly:
with mc.use_kernels("cuda-emulated"):
    again = conv2d(images, w, b)
assert np.allclose(again.detach().numpy(), out.detach().numpy(), atol=1e-4)
print("\nconv2d by minicnn's CUDA kernels, emulated: right")
