"""Reports: one self-contained HTML page for a run folder, or for a folder of runs of several seeds."""

from deepcrl.report.build import report
from deepcrl.report.joint import joint_report

__all__ = ["joint_report", "report"]
