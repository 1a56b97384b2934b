"""The few checks that `attnrec compare` runs first on variants that are not built in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attnrec.attention import ATTENTION
from attnrec.contract.kinds import kind_of
from attnrec.contract.report import Report
from attnrec.contract.run import check, check_names
from attnrec.core.errors import InputError
from attnrec.core.spec import Spec
from attnrec.models.build import MODELS

_CHECKS = ("shape", "finite", "no future leak", "padding", "batch independence")


def quick_failures(attention: Iterable[Spec], models: Iterable[Spec]) -> Iterator[tuple[Spec, Report]]:
    """The variants and models that fail a quick check, with the report; what is built in is not looked at.

    A variant that cannot be loaded or does not take the sizes of the checks is left out: the training will refuse it.
    """
    for registry, specs in ((ATTENTION, attention), (MODELS, models)):
        for spec in dict.fromkeys(specs):
            try:
                if registry.find(spec.name).__module__.startswith("attnrec."):
                    continue
                known = check_names(kind_of(spec))
                report = check(spec, only=[name for name in _CHECKS if name in known])
            except (InputError, ValueError):
                continue
            if report.failures:
                yield spec, report
