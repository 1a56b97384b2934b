"""What every attention operator must satisfy, runnable on anyone's operator.

from attnrec.contract import check_operator

report = check_operator("awr:refinement=value")  # or a class, or a function that builds one
assert report.holds, str(report)
"""

from attnrec.contract.report import Report, Result
from attnrec.contract.run import check_names, check_operator

__all__ = ["Report", "Result", "check_names", "check_operator"]
