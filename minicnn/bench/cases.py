"""What is timed, written once: ``lib`` is minicnn or torch, whose names are the same.

A case prepares everything and returns two functions without arguments. One makes what all libraries have to agree on,
as a list of tensors, the other is what is timed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["KERNELS", "NETWORKS", "Case", "Work", "case", "is_network"]

Step = Callable[[], list[Any]]


class Work(NamedTuple):
    """What has to be done at least.

    Attributes:
        flops: additions, multiplications and comparisons of the formula, whatever the algorithm does.
        bytes: to read every operand and to write every result once; None where that says nothing, for a whole network.
    """

    flops: int
    bytes: int | None


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        what: a description of it.
        prepare: makes, with a library, what must agree and what is timed.
        work: counts; of networks by tracing one image, hence a function.
    """

    what: str
    prepare: Callable[[Any], tuple[Step, Step]]
    work: Callable[[], Work]


def _normal(lib: Any, seed: int, *shape: int) -> Any:
    return lib.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


# -- networks -------------------------------------------------------------------------------------------------------


def network(label: str, name: str, shape: tuple[int, int, int], batch: int) -> Case:
    """A training step of a network of the registry: zero_grad, forward, cross-entropy, backward, SGD with momentum.

    Both libraries start with the same weights. Masks of dropout differ, so nothing is dropped in what must agree.
    """

    def create() -> Any:
        import minicnn as mc

        mc.manual_seed(0)
        return mc.models.create(name, 10, shape[0])

    def prepare(lib: Any) -> tuple[Step, Step]:
        import minicnn as mc

        model = create()
        if lib is not mc:
            from ..interop.torch import to_torch

            with mc.use_kernels("reference"):  # which has no threads that could stay awake beside PyTorch's
                model = to_torch(model, shape)
        optimizer = lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        x = _normal(lib, 1, batch, *shape)
        target = lib.from_numpy(np.random.default_rng(2).integers(0, 10, batch))
        cross_entropy = lib.nn.functional.cross_entropy

        def step() -> list[Any]:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return [loss]

        def agree() -> list[Any]:
            dropouts = [(layer, layer.p) for layer in model.modules() if type(layer).__name__ == "Dropout"]
            for layer, _ in dropouts:
                layer.p = 0.0
            found = step()
            for layer, p in dropouts:
                layer.p = p
            return [*found, *(p.grad for p in model.parameters())]

        return agree, step

    def work() -> Work:
        import minicnn as mc

        with mc.use_kernels("reference"):
            macs = [layer.macs for layer in mc.explain.summary(create(), shape).layers]
        first = next(filter(None, macs))  # what needs no gradient for the image
        return Work(2 * batch * (3 * sum(macs) - first), None)

    c, h, w = shape
    return Case(f"{label} {c}×{h}×{w}, batch {batch}", prepare, work)


# name → name of the registry, (C, H, W), batch
SIZES: dict[str, tuple[str, tuple[int, int, int], int]] = {
    "lenet": ("lenet", (1, 28, 28), 256), "cnn2": ("cnn2", (1, 28, 28), 64),
    "alexnet": ("alexnet_gray227", (1, 227, 227), 16), "vgg11": ("vgg11", (3, 96, 96), 16),
    "nin": ("nin", (1, 224, 224), 16), "googlenet": ("googlenet_d2l", (1, 96, 96), 32),
    "resnet18": ("resnet18", (3, 96, 96), 32), "densenet121": ("densenet121", (3, 96, 96), 16),
    "resnet20": ("resnet20", (3, 32, 32), 128),
}
NETWORKS = {name: network(name, *size) for name, size in SIZES.items()}


# -- kernels --------------------------------------------------------------------------------------------------------

def convolution(part: str, n: int, c: int, size: int, o: int, k: int, stride: int = 1, padding: int = 0,
                groups: int = 1) -> Case:
    """A convolution with bias: y, gx or gw, or all of them (step); of images with few channels without gx."""
    wanted = "x" * (c > 3) + "wb"

    def prepare(lib: Any) -> tuple[Step, Step]:
        x, w, b = (_normal(lib, i, *s) for i, s in enumerate(((n, c, size, size), (o, c // groups, k, k), (o,))))
        leaves = {name: t.requires_grad_() for name, t in (("x", x), ("w", w), ("b", b)) if name in wanted}
        conv2d, grad = lib.nn.functional.conv2d, lib.autograd.grad

        def forward() -> Any:
            return conv2d(x, w, b, stride, padding, 1, groups)

        made = forward()
        gy = _normal(lib, 3, *made.shape)

        def run() -> list[Any]:
            if part == "y":
                with lib.no_grad():
                    return [forward()]
            if part == "step":
                y = forward()
                return [y, *grad(y, list(leaves.values()), gy)]
            return list(grad(made, [leaves[part[1:]]], gy, retain_graph=True))

        return run, run

    def work() -> Work:
        side = (size + 2 * padding - k) // stride + 1
        x, w, y = n * c * size * size, o * c // groups * k * k, n * o * side * side
        products = 2 * y * c // groups * k * k
        if part == "step":  # x, w, gy are read, y, gw, and gx where it is wanted, are written
            return Work(products * (2 + (c > 3)), 4 * (x * (1 + (c > 3)) + 2 * w + 2 * y))
        return Work(products, 4 * (x + w + y))

    kind = "conv" if part == "step" else f"conv {part}"
    channels = f"{c} depthwise" if groups == c == o else f"{c}→{o}"
    about = [f" {name}{value}" for name, value, usual in (("s", stride, 1), ("p", padding, 0), ("g", groups, 1))
             if value not in (usual, c)]
    return Case(f"{kind} {channels} {k}×{k}{''.join(about)} @{size}, batch {n}", prepare, work)


def layer(what: str, call: Callable[[Any, Any], Any], shape: tuple[int, ...], flops: float, outputs: float = 1,
          reads: float = 0) -> Case:
    """call(lib.nn.functional, x) forward and backward.

    Args:
        flops: per element of x, of both.
        outputs: elements of y per element of x.
        reads: elements that backward needs per element of x, besides gy.
    """

    def prepare(lib: Any) -> tuple[Step, Step]:
        x = _normal(lib, 4, *shape).requires_grad_()
        gy = _normal(lib, 5, *call(lib.nn.functional, x).shape)

        def run() -> list[Any]:
            y = call(lib.nn.functional, x)
            return [y, *lib.autograd.grad(y, [x], gy)]

        return run, run

    def work() -> Work:
        n = math.prod(shape)  # x and gy are read, y and gx are written
        return Work(int(n * flops), int(4 * n * (2 + 2 * outputs + reads)))

    return Case(f"{what} {'×'.join(map(str, shape))}", prepare, work)


def linear(n: int, inputs: int, outputs: int) -> Case:
    """A linear layer with bias, forward and all gradients."""

    def prepare(lib: Any) -> tuple[Step, Step]:
        x, w, b = (_normal(lib, i, *s).requires_grad_()
                   for i, s in enumerate(((n, inputs), (outputs, inputs), (outputs,))))
        gy = _normal(lib, 3, n, outputs)

        def run() -> list[Any]:
            y = lib.nn.functional.linear(x, w, b)
            return [y, *lib.autograd.grad(y, [x, w, b], gy)]

        return run, run

    sizes = 2 * n * inputs + 2 * outputs * inputs + 2 * n * outputs
    return Case(f"linear {inputs}→{outputs}, batch {n}", prepare, lambda: Work(6 * n * inputs * outputs, 4 * sizes))


def update(name: str, count: int, operands: int, flops: int, **options: Any) -> Case:
    """A step of an optimiser for one parameter, which moves so many operands per element."""

    def prepare(lib: Any) -> tuple[Step, Step]:
        p = lib.nn.Parameter(_normal(lib, 6, count))
        p.grad = _normal(lib, 7, count)
        optimizer = getattr(lib.optim, name)([p], **options)

        def step() -> list[Any]:
            optimizer.step()
            return [p]

        return step, step

    return Case(f"{name} step, {count:,} weights", prepare, lambda: Work(flops * count, 4 * operands * count))


def _batch_norm(functional: Any, x: Any) -> Any:
    return functional.batch_norm(x, None, None, training=True)


KERNELS: dict[str, Case] = {
    # the first layers of networks
    "conv-lenet1": convolution("step", 256, 1, 28, 6, 5, 1, 2),
    "conv-cnn1": convolution("step", 64, 1, 28, 32, 5, 1, 2),
    "conv-alexnet1": convolution("step", 16, 1, 227, 96, 11, 4),
    "conv-googlenet1": convolution("step", 32, 1, 96, 64, 7, 2, 3),
    "conv-vgg1": convolution("step", 16, 3, 96, 64, 3, 1, 1),
    # wide ones, part by part
    **{f"conv-{name}-{part}": convolution(part, *size)
       for name, size in {"3x3": (16, 64, 56, 64, 3, 1, 1), "3x3w": (16, 256, 28, 256, 3, 1, 1),
                          "5x5": (16, 96, 27, 256, 5, 1, 2)}.items() for part in ("y", "gx", "gw")},
    # all others
    "conv-lenet2": convolution("step", 256, 6, 14, 16, 5),
    "conv-cnn2": convolution("step", 64, 32, 14, 64, 5, 1, 2),
    "conv-small": convolution("step", 32, 512, 3, 512, 3, 1, 1),
    "conv-3x3s2": convolution("step", 16, 64, 56, 128, 3, 2, 1),
    "conv-1x1": convolution("step", 8, 256, 56, 64, 1),
    "conv-groups": convolution("step", 16, 128, 28, 128, 3, 1, 1, 32),
    "conv-dw": convolution("step", 16, 128, 28, 128, 3, 1, 1, 128),
    "linear": linear(64, 3136, 1000),
    "linear-wide": linear(16, 9216, 4096),
    # passes over memory
    "avgpool": layer("average pool 2×2", lambda f, x: f.avg_pool2d(x, 2), (256, 6, 28, 28), 2, 1 / 4),
    "maxpool": layer("max pool 2×2", lambda f, x: f.max_pool2d(x, 2), (64, 32, 28, 28), 1.25, 1 / 4),
    "maxpool3": layer("max pool 3×3 s2 p1", lambda f, x: f.max_pool2d(x, 3, 2, 1), (16, 64, 56, 56), 2.5, 1 / 4),
    "batchnorm": layer("batch norm", _batch_norm, (32, 64, 56, 56), 14, reads=1),
    "relu": layer("ReLU", lambda f, x: f.relu(x), (32, 64, 56, 56), 2, reads=1),
    "cross-entropy": layer("log-softmax", lambda f, x: f.log_softmax(x, 1), (256, 1000), 8, reads=1),
    "sgd": update("SGD", 4_000_000, 5, 4, lr=0.01, momentum=0.9),
    "adam": update("Adam", 4_000_000, 7, 14, lr=0.001),
}


def is_network(name: str) -> bool:
    """Whether this names a training step, not a kernel."""
    return name.partition("@")[0] in NETWORKS


def case(name: str) -> Case:
    """The case of this name, or NETWORK@BATCH for another batch; KeyError if there is none."""
    label, at, batch = name.partition("@")
    if at and label in SIZES and batch.isdigit() and int(batch):
        return network(label, *SIZES[label][:2], int(batch))
    return (NETWORKS | KERNELS)[name]
