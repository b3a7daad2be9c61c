"""The machine code of the micro-kernels: sums stay in registers."""

import re

import pytest
from numba import cfunc, types

from minicnn.kernels.cpu import microkernel
from minicnn.kernels.cpu.microkernel import _REGISTERS

LABEL, JUMP = re.compile(r"(\.L\w+):"), re.compile(r"\s+j\w+\s+(\.L\w+)")
MEMORY = re.compile(r"\(%[re]sp\).*%[xyz]mm|%[xyz]mm\d+, -?\d*\(%[re]sp\)")  # a vector from or to the stack


def innermost_loops(code: list[str]) -> list[list[str]]:
    """The stretches of assembler that end with a jump to their beginning and have no other label."""
    labels = {match[1]: number for number, line in enumerate(code) if (match := LABEL.match(line))}
    loops = [code[labels[match[1]] + 1:number] for number, line in enumerate(code)
             if (match := JUMP.match(line)) and labels.get(match[1], number) < number]
    return [loop for loop in loops if not any(LABEL.match(line) for line in loop)]


@pytest.mark.skipif(_REGISTERS != 32 or microkernel.BITS == 128, reason="of AVX-512, of which the code is read")
@pytest.mark.parametrize("element", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", ["tile", "streams", "dots"])
def test_no_sum_goes_through_memory(name, element):
    """LLVM once kept two sums of each tile on the stack."""
    kernel, signature = getattr(microkernel, name), getattr(microkernel, f"{name}_signature")(element)
    code = cfunc(signature)(kernel)._library.get_asm_str().splitlines()
    loops = [loop for loop in innermost_loops(code) if any("vfmadd" in line for line in loop)]
    assert len(loops) >= {"tile": 40, "streams": 4, "dots": 3}[name]
    assert not [loop for loop in loops if any(MEMORY.search(line) for line in loop)]
