"""Runs CUDA kernels on the CPU, one thread at a time, and checks every access to memory they make."""

from .library import CudaError, Library, thread_order

__all__ = ["CudaError", "Library", "thread_order"]
