"""Networks looked into: what each layer costs, keeps and sees."""

from .summary import Field, LayerSummary, Summary, summary

__all__ = ["Field", "LayerSummary", "Summary", "summary"]
