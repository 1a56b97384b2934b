"""Lines that describe a split, and the targets that a model could not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PARTS = {"valid": "validation", "test": "test"}


def of_split(split: Mapping[str, Any], part: str | None = None) -> list[str]:
    """Lines for a `Split.description`, for one part or both; for leave-one-out, only its kind."""
    lines = [f"split: {split['kind']}"]
    if "test_from" in split:
        lines[0] += f", validation from {split['valid_from_shown']}, test from {split['test_from_shown']}"
    if split["kind"] != "leave-one-out":
        lines += [f"{words}: {_counts(split[name])}" for name, words in _PARTS.items() if part in (None, name)]
    return lines


def _counts(part: Mapping[str, int]) -> str:
    return (
        f"{_many(part['users'], 'user')} evaluated, each on the first item; {part['interactions_not_asked']:,} further "
        f"interactions held out; {_many(part['users_without_item'], 'user')} without an item, "
        f"{part['users_without_history']:,} without a history before it"
    )


def of_left_out(left_out: Mapping[str, Any] | None, part: str = "test") -> list[str]:
    """Lines for what was left out because the model does not know it (`attnrec.data.splits.Unknown`)."""
    if left_out is None:
        return []
    if not left_out["interactions"]:
        return ["left out: nothing, the model knows all items"]
    without = left_out["histories"][part]
    return [
        f"left out: {_many(left_out['interactions'], 'interaction')} with {_many(left_out['items'], 'item')} that the "
        f"model does not know; {_many(without, 'user')} with no known item before the {_PARTS[part]} item"
    ]


def of_targets(metrics: Mapping[str, Any], cutoff: int) -> list[str]:
    """Lines for targets never trained on, and for unknown ones, if there are any (`evaluation.targets.report`)."""
    lines = []
    unseen, unknown = metrics["unseen_targets"], metrics.get("unknown_targets")
    name = f"NDCG@{cutoff}"
    if unseen["number"]:
        rest = unseen["without"]
        of_rest = "there are no others" if rest is None else f"without them {_both(rest, name)}"
        lines.append(f"targets never trained on: {unseen['number']:,} ({unseen['share']:.1%}); {of_rest}")
    if unknown is not None and unknown["number"]:
        lines.append(
            f"targets unknown to the model: {unknown['number']:,} ({unknown['share']:.1%} of all), not in the table; "
            f"as misses {_both(unknown['as_misses'], name)}"
        )
    return lines


def shown_cutoff(metrics: Mapping[str, float]) -> int:
    """10, or the largest N of the metrics if 10 is not among them."""
    cutoffs = [int(name.split("@")[1]) for name in metrics if name.startswith("NDCG@")]
    return 10 if 10 in cutoffs else max(cutoffs)


def _both(metrics: Mapping[str, Mapping[str, float]], name: str) -> str:
    return f"{name} {metrics['full'][name]:.4f} (sampled {metrics['sampled'][name]:.4f})"


def _many(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"
