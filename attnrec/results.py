"""The results of `attnrec.train` and `attnrec.compare`, which a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnrec.analysis.style import Figures
from attnrec.core import html
from attnrec.core.spec import Specs
from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.pool import Outcome
from attnrec.experiments.result import ComparisonFindings
from attnrec.experiments.tables import problems, tables, to_markdown
from attnrec.training.history import History, history

if TYPE_CHECKING:
    from attnrec.recommender import Recommender


class TrainingResult(dict[str, Any]):
    """The summary of a training, as in the run's ``summary.json``; ``print`` and a notebook show the main figures."""

    def history(self) -> History:
        """Loss, gradient norm and validation as columns; raises as `attnrec.history`."""
        return history(self["run"])

    def load(self) -> Recommender:
        """The best model, ready for use; raises as `attnrec.load`."""
        from attnrec.recommender import load

        return load(self["run"])

    def __str__(self) -> str:
        test = [[name, *values] for name, *values in self._metrics()]
        lines = [f"{name:8} {full:>8} {sampled:>12}" for name, full, sampled in [["", *PROTOCOLS.values()], *test]]
        return "\n".join([self._title(), *lines, *self._remarks()])

    def _repr_html_(self) -> str:
        shown = html.table(("test", *PROTOCOLS.values()), self._metrics())
        return html.heading(self._title()) + shown + html.items(self._remarks())

    def _title(self) -> str:
        model = self["model"] if self["model"] != "sasrec" else self["attention"]
        when = f"epoch {self['best_epoch']} of {self['epochs']}"
        return f"{Specs.parse(model).label} on {self['dataset']}, test at {when}, the best on validation"

    def _metrics(self) -> list[tuple[str, str, str]]:
        full, sampled = (self["test"][protocol] for protocol in PROTOCOLS)
        return [(name, f"{full[name]:.4f}", f"{sampled[name]:.4f}") for name in full]

    def _remarks(self) -> list[str]:
        norm = self["grad_norm"]
        found = [
            f"gradient norm: mean {norm['mean']:.3f}, max {norm['max']:.3f}, last {norm['last']:.3f}",
            f"{self['seconds_per_epoch']:.2f} s per epoch, {self['parameters']:,} parameters",
        ]
        if self["best_possible_ndcg10"] is not None:
            found.append(f"best achievable full-ranking NDCG@10 on these data: {self['best_possible_ndcg10']:.4f}")
        if self["skipped_steps"]:
            found.append(f"{self['skipped_steps']} steps were skipped: their loss or gradient was not finite")
        if self["interrupted"]:
            found.append("interrupted: attnrec.train(out=..., resume=True) continues it")
        return [*found, f"run directory: {self['run']}"]


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """The result of a comparison; a notebook shows its tables.

    Attributes:
        comparison: what was compared, and in which folder.
        outcome: which runs failed or are missing.
        found: scores, differences, cost and warnings, as a dataclass.
    """

    comparison: Comparison
    outcome: Outcome
    found: ComparisonFindings

    @property
    def values(self) -> dict[str, Any]:
        """The findings as plain values, the content of ``comparison.json``."""
        return self.found.as_json()

    def markdown(self) -> str:
        """The tables, the content of ``comparison.md``."""
        return to_markdown(self.comparison, self.found)

    def figures(self) -> Figures:
        """NDCG against N, differences, validation by epoch and time, gradient norms; InputError if no run is finished.

        The differences are taken from ``found``, because testing them again would take a while.
        """
        from attnrec.analysis.comparison_figures import comparison_figures

        return Figures(comparison_figures(self.comparison, self.found.differences()))

    def history(self, variant: str, seed: int) -> History:
        """The log of one run as columns; KeyError for a variant not compared, otherwise raises as `attnrec.history`."""
        _ = self.comparison.variants[variant]
        return history(self.comparison.run(variant, seed).path)

    def problems(self) -> list[str]:
        """One line for each run without a result."""
        return problems(self.found)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _repr_html_(self) -> str:
        parts = [html.items([*self.problems(), *(f"Warning: {line}" for line in self.found.warnings)])]
        for table in tables(self.found):
            parts += [html.heading(table.title), html.table(table.headers, table.rows, table.numbers_from)]
            parts += [html.paragraph(table.note)] if table.note else []
        return "".join([*parts, html.paragraph(f"folder: {self.comparison.path}")])

    def __str__(self) -> str:
        return self.markdown()
