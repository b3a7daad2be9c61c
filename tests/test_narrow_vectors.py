"""The kernels that are made for a vector width, on the same configurations, limited to 8 lanes as AVX2 has them."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
TESTS = ("kernels_convolution.py::test_cpu_against_reference",
         "kernels_convolution.py::test_cpu_cuts_work_without_a_seam",
         "kernels_convolution.py::test_tiles_against_reference",
         "kernels_convolution.py::test_planes_against_reference",
         "kernels_convolution.py::test_images_in_the_lanes_against_reference",
         "kernels_matmul.py::test_agrees_with_float64", "kernels_matmul.py::test_strided_operands_are_read_rightly",
         "recurrent.py::test_layers_compute_what_pytorch_does")


def test_configurations_on_eight_lanes():
    """Convolution in all its ways, products of matrices, recurrent layers."""
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider",
                          *(f"{FOLDER}/test_{name}" for name in TESTS)], cwd=FOLDER.parent, text=True,
                         capture_output=True, env=os.environ | {"MINICNN_VECTOR_BITS": "256"})
    assert run.returncode == 0, run.stdout[-4000:]
