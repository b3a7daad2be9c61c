"""Arrays in, arrays out: every computation of minicnn, as plain NumPy (reference) and fast (cpu, cuda)."""
