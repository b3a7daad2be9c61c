"""Gradients as values, operations of the user's own, checks of both against numbers, and Jacobians and Hessians."""

from ..engine import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from . import functional
from .function import Function
from .gradients import detect_anomaly, grad
from .numeric import GradcheckError, gradcheck, gradgradcheck

__all__ = ["Function", "GradcheckError", "detect_anomaly", "enable_grad", "functional", "grad", "gradcheck",
           "gradgradcheck", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]
