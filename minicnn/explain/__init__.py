"""Networks looked into: what each layer costs, keeps and sees, how layers are connected, how two networks differ."""

from .diff import Difference, diff
from .gradient import Cause, GradientReport, gradient
from .graph import Box, Edge, Graph, check_format, graph
from .summary import Field, LayerSummary, Summary, summary

__all__ = ["Box", "Cause", "Difference", "Edge", "Field", "GradientReport", "Graph", "LayerSummary", "Summary",
           "check_format", "diff", "gradient", "graph", "summary"]
