"""Networks looked into: what each layer costs, keeps and sees, how layers are connected, how two networks differ."""

from .diff import Difference, diff
from .graph import Box, Edge, Graph, check_format, graph
from .summary import Field, LayerSummary, Summary, summary

__all__ = ["Box", "Difference", "Edge", "Field", "Graph", "LayerSummary", "Summary", "check_format", "diff", "graph",
           "summary"]
