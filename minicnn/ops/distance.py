"""How near vectors are to each other: the cosine of their angle, and the p-norm of their difference."""

from ..engine import Tensor
from .arguments import same_floats
from .basic import operands, refuse_bool
from .shape import broadcast_tensors

__all__ = ["cosine_similarity", "pairwise_distance"]


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between the vectors along dim: (..., D, ...) twice, broadcast → the same without D.

    y = Σ x̂₁·x̂₂ with x̂ = x / max(|x|, eps), and gx₁ = gy·(x̂₂ − y·x̂₁)/|x₁|. Raises RuntimeError for shapes that do
    not broadcast, types that are not floating, and a negative eps. Salton et al. 1975.
    """
    if not eps >= 0:
        raise RuntimeError(f"cosine_similarity: eps = {eps} must be at least 0")
    x1, x2 = broadcast_tensors(*operands("cosine_similarity", x1, x2))
    same_floats("cosine_similarity", x1=x1, x2=x2)
    return (_unit(x1, dim, eps) * _unit(x2, dim, eps)).sum(dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    norm = x.norm(2, dim, keepdim=True)
    return x / (norm + (eps - norm.detach()).clamp_min(0))  # the gradient is that of the norm below eps too


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of the differences along the last axis: (..., D) twice, broadcast → (...), or (..., 1) with keepdim.

    y = (Σ |x₁ − x₂ + eps|ᵖ)^(1/p), where eps keeps the gradient of equal vectors finite, and gx₂ = −gx₁. Raises
    RuntimeError for shapes that do not broadcast, and for bool. Minkowski 1896.
    """
    refuse_bool("pairwise_distance", x1, x2)
    x1, x2 = operands("pairwise_distance", x1, x2)
    return (x1 - x2 + eps).norm(p, -1, keepdim)
