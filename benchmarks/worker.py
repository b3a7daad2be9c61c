"""One library, one case, one process: prints the times as JSON, or saves the results to compare.

Run by run.py, which lets the libraries take turns: two thread pools in one process disturb each other.
"""

import argparse
import importlib
import json
import time

import numpy as np
from cases import CASES, numbers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=("minicnn", "torch", "reference"))
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    parser.add_argument("--save", help="write the results of one call to this .npz instead of timing")
    args = parser.parse_args()
    lib = importlib.import_module("torch" if args.library == "torch" else "minicnn")
    if args.library != "torch":
        importlib.import_module("minicnn.nn"), importlib.import_module("minicnn.optim")
    lib.set_num_threads(args.threads)
    if args.library == "reference":
        lib.use_kernels("reference").__enter__()  # for the whole process
    run = CASES[args.case][1](lib, checking=bool(args.save))
    if args.save:
        np.savez(args.save, *[numbers(t) for t in run()])
        return
    run()  # compiles
    times = []
    start = time.perf_counter()
    while time.perf_counter() - start < args.seconds or len(times) < 3:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
