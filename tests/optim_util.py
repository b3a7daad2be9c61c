"""What the tests of optimisers share: optimisers of both libraries on equal parameters and gradients."""

import torch
from util import assert_close, normal

import minicnn as mc
from minicnn import nn, optim

SHAPES = ((4, 3), (5,), (), (2, 1, 3))
OPTIMISERS = [
    ("SGD", dict(lr=0.05)),
    ("SGD", dict(lr=0.05, weight_decay=0.1)),
    ("SGD", dict(lr=0.05, momentum=0.9)),
    ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.01, maximize=True)),
    ("SGD", dict(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.02)),
    ("Adam", dict()),
    ("Adam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ("Adam", dict(lr=0.05, amsgrad=True)),
    ("Adam", dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)),
    ("Adam", dict(lr=0.02, maximize=True, weight_decay=0.01)),
    ("AdamW", dict(lr=0.02)),
    ("AdamW", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6)),
    ("AdamW", dict(lr=0.02, weight_decay=0.3, amsgrad=True, maximize=True)),
    ("RMSprop", dict()),
    ("RMSprop", dict(lr=0.02, alpha=0.9, eps=1e-6, weight_decay=0.1, maximize=True)),
    ("RMSprop", dict(lr=0.02, momentum=0.8, centered=True)),
    ("RMSprop", dict(lr=0.02, momentum=0.5, weight_decay=0.05)),
    ("Adagrad", dict()),
    ("Adagrad", dict(lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.3, eps=1e-6)),
    ("Adagrad", dict(lr=0.1, maximize=True)),
    ("Adadelta", dict()),
    ("Adadelta", dict(lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1, maximize=True)),
    ("NAdam", dict()),
    ("NAdam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, momentum_decay=0.1)),
    ("NAdam", dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)),
    ("RAdam", dict()),
    ("RAdam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ("RAdam", dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)),
    ("RAdam", dict(lr=0.02, betas=(0.5, 0.6))),  # ρ∞ = 4: never sure of the variance
]
# lr ≥ 0.3 or a short history: with lr = 0.1 the changes kept are so alike that PyTorch itself, started one rounding
# away, ends 10⁻⁷ away.
LBFGS = [dict(line_search_fn="strong_wolfe"), dict(lr=0.5, max_iter=4), dict(lr=0.2, max_iter=3, history_size=2),
         dict(lr=0.3, line_search_fn="strong_wolfe", max_eval=3, history_size=1), dict(lr=0.3, max_eval=2),
         dict(lr=10.0, line_search_fn="strong_wolfe", max_iter=2, tolerance_change=1e-4),
         dict(lr=0.5, tolerance_grad=0.05), dict(lr=0.5, tolerance_change=0.01)]


def case_id(case: tuple) -> str:
    return f"{case[0]}({', '.join(f'{k}={v}' for k, v in case[1].items())})"


def parameters(dtype: str = "float64") -> tuple[list, list]:
    arrays = [normal(shape, i).astype(dtype) for i, shape in enumerate(SHAPES)]
    return [nn.Parameter(mc.tensor(a)) for a in arrays], [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def set_gradients(ours: list, theirs: list, step: int) -> None:
    """Equal gradients, in a shallow bowl with noise; the second parameter has none in every third step."""
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = (0.3 * q.detach().numpy() + normal(q.shape, 100 * step + i)).astype(q.detach().numpy().dtype)
        absent = i == 1 and step % 3 == 0
        p.grad, q.grad = (None, None) if absent else (mc.tensor(g), torch.tensor(g))


def same(ours: list, theirs: list, tolerance: float = 1e-10) -> None:
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, tolerance)


def make(case: tuple, ours: list, theirs: list) -> tuple:
    return getattr(optim, case[0])(ours, **case[1]), getattr(torch.optim, case[0])(theirs, **case[1])


def to_torch(state: dict) -> dict:
    """Our state with PyTorch's tensors."""
    return {"param_groups": state["param_groups"], "state": {
        i: {key: as_torch(value) for key, value in values.items()} for i, values in state["state"].items()}}


def as_torch(value):
    if isinstance(value, list):
        return [as_torch(v) for v in value]
    return torch.from_numpy(value.numpy().copy()) if isinstance(value, mc.Tensor) else value
