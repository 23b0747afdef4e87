"""A run folder as one self-contained HTML page."""

from deepcrl.report.build import report

__all__ = ["report"]
