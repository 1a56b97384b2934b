"""What every attention operator, mixer and model must satisfy, as checks that you can run on your own.

from attnrec.contract import check

report = check("awr:refinement=value")  # or a class
assert report.holds, str(report)
"""

from attnrec.contract.report import Report, Result
from attnrec.contract.run import check, check_mixer, check_model, check_names, check_operator

__all__ = ["Report", "Result", "check", "check_mixer", "check_model", "check_names", "check_operator"]
