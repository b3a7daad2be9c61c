"""What is no case: how long a start takes, whether the loader keeps up, what more threads and images give."""

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from .cases import case
from .measure import Plan, Worker, environment
from .table import digits, fill, printer

__all__ = ["loader", "loader_times", "machine_line", "scaling", "start"]


def machine_line(about: dict[str, Any]) -> str:
    """What the figures below it are measured on."""
    blas = ", ".join(about["blas"] or ["unknown BLAS"])
    chosen = about["OPENBLAS_CORETYPE"]
    return (fill(f"{about['cpu']}, {about['threads']} of {about['cores']} cores, {about['vector_bits']}-bit vectors: "
                 f"{about['flops_per_second'] / 1e9:.0f} GFLOP/s, {about['bytes_per_second'] / 1e9:.0f} GB/s")
            + "\n" + fill(f"NumPy {about['numpy']} with {blas}{f' (OPENBLAS_CORETYPE {chosen})' if chosen else ''}; "
                          f"PyTorch {about.get('torch', 'not installed')}"))


# -- start ----------------------------------------------------------------------------------------------------------

FIRST_STEP = "import minicnn; from minicnn.bench.cases import case; case('lenet').prepare(minicnn)[1]()"


def start(plan: Plan) -> dict[str, float]:
    """Print and return the seconds of a new process: `import minicnn`, and that with LeNet's first training step."""
    def median(code: str) -> float:
        return statistics.median([_seconds(code) for _ in range(plan.rounds)])

    found = {"import": median("import minicnn") - median("import numpy")}
    print(f"import minicnn, beyond NumPy                   {found['import']:6.2f} s")
    with tempfile.TemporaryDirectory() as cache:
        found["first_step_cold"] = _seconds(FIRST_STEP, NUMBA_CACHE_DIR=cache)
    print(f"first step of lenet, kernels to be compiled    {found['first_step_cold']:6.2f} s")
    _seconds(FIRST_STEP)
    found["first_step_warm"] = median(FIRST_STEP)
    print(f"first step of lenet, kernels cached            {found['first_step_warm']:6.2f} s")
    return found


def _seconds(code: str, **variables: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(**variables), start_new_session=True)
    return time.perf_counter() - begin


# -- loader ---------------------------------------------------------------------------------------------------------

IMAGES, BATCH = 10_240, 256


def loader(plan: Plan) -> dict[str, float]:
    """Print and return ``loader_times``."""
    with Worker("minicnn", plan.threads) as worker:
        found = worker.ask("loader", plan.rounds * plan.seconds)
    print(fill(f"lenet, batch {BATCH}: a step {found['step']:.2f} ms, with the loader "
               f"{found['step_with_loader']:.2f} ms; the loader alone {found['batch']:.2f} ms"))
    return found


def loader_times(seconds: float) -> dict[str, float]:
    """Milliseconds of a LeNet training step on one batch, of one with the loader's next batch, and of a batch alone.

    The images are bytes, shuffled and normalised, as those of MNIST are.
    """
    from .. import functional, models, optim
    from ..data import DataLoader, TensorDataset, transforms

    rng = np.random.default_rng(0)
    images = TensorDataset(rng.integers(0, 256, (IMAGES, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, IMAGES))
    batches = DataLoader(images, BATCH, shuffle=True, drop_last=True, transform=transforms.Normalize(0.13, 0.31))
    model = models.create("lenet")
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(x: Any, target: Any) -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), target).backward()
        optimizer.step()

    same = next(iter(batches))
    count = len(batches)

    def repeated() -> None:
        for _ in range(count):
            step(*same)

    def loaded() -> None:
        for batch in batches:
            step(*batch)

    def alone() -> None:
        for _ in batches:
            pass

    repeated()
    times: dict[str, list[float]] = {"step": [], "step_with_loader": [], "batch": []}
    begin = time.perf_counter()
    while not times["batch"] or time.perf_counter() - begin < seconds:
        for name, work in (("step", repeated), ("step_with_loader", loaded), ("batch", alone)):
            before = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - before) / count)
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


# -- scaling --------------------------------------------------------------------------------------------------------

SCALED, BATCHES = "resnet20", (16, 64, 256)


def scaling(plan: Plan) -> dict[str, Any]:
    """Print and return, by batch, library and number of threads, milliseconds of a training step per image."""
    counts = sorted({1, plan.threads})
    names = [library for library in plan.libraries if library != "reference"]
    heads = [("training step, ms per image", 34), ("", 9),
             *((title, 12) for title in (*(f"{count} thread{'s' * (count > 1)}" for count in counts), "speed-up"))]
    show, found = printer(heads), {}
    show([title for title, _ in heads])
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        workers = {(library, count): stack.enter_context(Worker(library, count)) for library in names
                   for count in counts}
        for batch in BATCHES:
            name = f"{SCALED}@{batch}"
            for worker in workers.values():
                worker.ask("prepare", name, f"{folder}/results.npz")
            times: dict[Any, list[float]] = {key: [] for key in workers}
            for _ in range(plan.rounds):
                for key, worker in workers.items():
                    times[key].append(1e3 * statistics.median(worker.ask("time", plan.seconds)) / batch)
            medians = {key: statistics.median(values) for key, values in times.items()}
            for library in names:
                show([case(name).what, library, *(digits(medians[library, count]) for count in counts),
                      f"{medians[library, 1] / medians[library, plan.threads]:.2f}"])
            found[name] = {library: {count: medians[library, count] for count in counts} for library in names}
    return found
