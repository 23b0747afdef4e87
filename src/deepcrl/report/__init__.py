"""A run folder, or one of several seeds, as one self-contained HTML page."""

from deepcrl.report.build import report
from deepcrl.report.joint import joint_report

__all__ = ["joint_report", "report"]
