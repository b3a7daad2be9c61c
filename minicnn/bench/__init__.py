"""How fast minicnn is: kernels and whole networks against PyTorch, the plain reference and what the machine can do."""
