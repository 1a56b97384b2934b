"""Options for evaluating a model, during and after training."""

from __future__ import annotations

from dataclasses import dataclass

from attnrec.core.options import MOST, Options, option


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """When to evaluate, and how to choose the epoch; InputError for a value outside its limits."""

    eval_every: int = option(5, "Evaluation", "Epochs between evaluations on validation.", min=1, max=MOST)
    patience: int = option(
        5, "Evaluation", "Evaluations without a better NDCG@10 before stopping; 0: never.", min=0, max=MOST
    )
    select: str = option(
        "full", "Evaluation", "Protocol whose validation NDCG@10 chooses the epoch.", choices=("full", "sampled")
    )
    cutoffs: tuple[int, ...] = option(
        (1, 5, 10, 20), "Evaluation", "Cut-offs N of NDCG@N and Hit@N, such as 1,5,10,20."
    )
