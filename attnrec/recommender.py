"""Using a trained run: recommendations and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from attnrec.core import html
from attnrec.core.arguments import listed, number, path, truth, whole_number
from attnrec.core.devices import choose_device
from attnrec.core.errors import InputError, RunError, nearest
from attnrec.core.options import named
from attnrec.data.batches import batch_from_histories
from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions
from attnrec.data.splits import PARTS, Split
from attnrec.evaluation.metrics import DEFAULT_CUTOFFS, check_cutoffs
from attnrec.evaluation.ranking import Evaluator
from attnrec.evaluation.segments import SegmentReport, segment_report
from attnrec.evaluation.targets import EvaluationReport, NewerReport, report
from attnrec.models.base import SequentialModel, with_bias
from attnrec.models.build import build_model, needs_timestamps
from attnrec.training.config import TrainConfig
from attnrec.training.history import History, history_of
from attnrec.training.kept_sources import kept_sources
from attnrec.training.run_directory import WEIGHTS, RunDirectory, Vocabulary
from attnrec.training.setup import split_of


class Recommendations(list[tuple[str, float]]):
    """Original item ids and scores, best first; a notebook shows them, with titles if the data have any.

    Attributes:
        titles: the titles of the items, in the same order; empty if there are none.
    """

    def __init__(self, found: Iterable[tuple[str, float]], titles: Sequence[str] = ()) -> None:
        super().__init__(found)
        self.titles = tuple(titles)

    def _repr_html_(self) -> str:
        titled = ["title"] if self.titles else []
        rows = [
            (str(place + 1), item, *self.titles[place : place + 1], f"{score:.4f}")
            for place, (item, score) in enumerate(self)
        ]
        return html.table(("rank", "item", *titled, "score"), rows, numbers_from=2 + len(titled))


class Recommender:
    """A model with its vocabulary; made by `load`.

    Attributes:
        model: in eval mode.
        config: the options it was trained with.
        item_numbers: the model's number (from 1) of each original item id.
    """

    def __init__(
        self,
        model: SequentialModel,
        config: TrainConfig,
        vocabulary: Vocabulary,
        run: RunDirectory,
        device: torch.device,
    ) -> None:
        self.model, self.config, self.vocabulary, self.run, self.device = model, config, vocabulary, run, device
        self.item_numbers = {item: number for number, item in enumerate(vocabulary.items, 1)}

    @torch.inference_mode()
    def recommend(
        self,
        history: Sequence[str | int],
        top: int = 10,
        *,
        include_seen: bool = False,
        user: str | None = None,
        timestamps: Sequence[float] | None = None,
    ) -> Recommendations:
        """The most likely next items after a history.

        Args:
            history: original item ids, oldest first; numbers are taken as their decimal strings.
            top: how many items to return (fewer if the catalogue has fewer).
            include_seen: whether items of the history may be recommended.
            user: original user id, if the model knows users.
            timestamps: times of the items of the history, if the model's attention needs them.

        Returns:
            original item ids and scores, best first.

        Raises:
            InputError: the history is empty or has unknown items, the user is unknown or missing, or timestamps
                are missing or do not fit the history.
            RunError: a score is not a finite number.
        """
        truth(include_seen=include_seen)
        top = whole_number("top", top, 1)
        numbers = self._numbers([str(item) for item in listed("history", history, "item ids")])
        if timestamps is None and needs_timestamps(self.model):
            raise InputError(f"{self._needs_timestamps()}: one for each item of the history")
        times = None
        if timestamps is not None:
            times = [[number("a timestamp", time) for time in listed("timestamps", timestamps, "numbers")]]
        batch = batch_from_histories([numbers], self.config.model.max_len, times)
        if self.model.knows_users:
            batch = batch.of_user(self._user(user))
        output = self.model.last_output(batch.to(self.device)).float()
        states, vectors = with_bias(output, self.model.item_vectors, self.model.item_bias)
        scores = (states @ vectors.T)[0]
        if not scores[1:].isfinite().all():
            raise RunError(f"the scores of {self.run} are not finite: its {WEIGHTS} is damaged, or the run diverged")
        scores[0] = -torch.inf
        if not include_seen:
            scores[torch.tensor(numbers, device=self.device)] = -torch.inf
        values, found = scores.topk(min(top, len(scores)))
        best = [
            (self.vocabulary.items[item - 1], value)
            for value, item in zip(values.tolist(), found.tolist(), strict=True)
            if value != -torch.inf
        ]
        return Recommendations(best, [self.title(item) for item, _ in best] if self.vocabulary.titles else ())

    def title(self, item: str) -> str:
        """The title of an item by its original id, "" if the data have no titles."""
        titles = self.vocabulary.titles
        return titles[self.item_numbers[item] - 1] if titles else ""

    def history(self) -> History:
        """Loss, gradient norm and validation of the training as columns; RunError if the log is damaged."""
        return history_of(self.run)

    def _repr_html_(self) -> str:
        model, data = self.config.model, self.config.data
        rows = [
            ("data", data.dataset),
            ("model", f"{model.model.label}, attention {model.attention.label}"),
            ("sizes", f"d = {model.dim}, n = {model.max_len}, {model.blocks} blocks, {model.heads} heads"),
            ("items", f"{len(self.vocabulary.items):,}"),
            ("device", str(self.device)),
            ("run", str(self.run)),
        ]
        summary = self.run.summary()
        for protocol, metrics in summary["test"].items() if summary else ():
            best = [f"{name} {value:.4f}" for name, value in metrics.items() if name.endswith("@10")]
            rows.append((f"test, {protocol}", ", ".join(best)))
        example = ", ".join(map(repr, self.vocabulary.items[:2]))
        shown = html.table(("Recommender", ""), rows, numbers_from=2)
        return shown + html.code(f"recommender.recommend([{example}], top=5)\nrecommender.evaluate()")

    def evaluate(
        self,
        *,
        part: str = "test",
        cutoffs: Sequence[int] = DEFAULT_CUTOFFS,
        dataset: str | None = None,
        newer: bool = False,
        **moments: str,
    ) -> dict[str, Any]:
        """Metrics of full ranking (``full``) and sampled-100 (``sampled``) over all users.

        Args:
            part: ``test`` or ``valid``.
            cutoffs: cut-offs N of the metrics.
            dataset: where the data are now; by default where they were at training.
            newer: accept data other than the run's. Items that the model does not know are left out of the histories;
                users may be new.
            moments: with ``newer``: ``split``, ``valid_from`` and ``test_from`` as in `TrainConfig`.

        Returns:
            ``full``, ``sampled`` and ``unseen_targets``; for data that were cut to the model's items also
            ``unknown_targets`` (`attnrec.evaluation.targets`); with ``newer`` also ``split``, how the data were
            divided, and ``left_out``, what was left out.

        Raises InputError if the data set is not the one the run was trained on, or a cut-off cannot be used;
        RunError if a score is not a finite number.
        """
        evaluator, numbers = self._evaluator(part, cutoffs, dataset, newer, moments)
        found = report(evaluator, evaluator.run(self.model, self.device), numbers, self.vocabulary.trained())
        return dict(_of_newer(found, evaluator.split) if newer else found)

    def segments(
        self,
        *,
        part: str = "test",
        cutoffs: Sequence[int] = DEFAULT_CUTOFFS,
        dataset: str | None = None,
        newer: bool = False,
        **moments: str,
    ) -> SegmentReport:
        """As `evaluate`, plus, for full ranking, metrics by segment of the users, ties, and the items in top-N lists.

        With ``newer``, popularity is counted in the training part of the newer data. Raises as `evaluate`.
        """
        evaluator, numbers = self._evaluator(part, cutoffs, dataset, newer, moments)
        found = segment_report(evaluator, self.model, numbers, self.device, self.vocabulary.trained())
        return replace(found, metrics=_of_newer(found.metrics, evaluator.split)) if newer else found

    def _evaluator(
        self, part: str, cutoffs: Sequence[int], dataset: str | None, newer: bool, moments: dict[str, str]
    ) -> tuple[Evaluator, tuple[int, ...]]:
        truth(newer=newer)
        cutoffs = [whole_number("a cut-off N", n) for n in listed("cutoffs", cutoffs, "whole numbers")]
        if part not in PARTS:
            raise InputError(f"part {part!r} is not one of {', '.join(PARTS)}")
        if moments and not newer:
            raise InputError(
                f"{named(next(iter(moments)))} needs `newer`: otherwise a run is evaluated on its own split"
            )
        split = self._newer_split(dataset, part, moments) if newer else self.split(dataset)
        numbers = check_cutoffs(cutoffs, split.data.num_items)
        return Evaluator(split, part, self.config.model.max_len), numbers

    def interactions(self, dataset: str | None = None) -> Interactions:
        """The data of the run, from its old place or from ``dataset``; InputError if those are other data."""
        return self.split(dataset).data

    def split(self, dataset: str | None = None) -> Split:
        """The split of the run's data that it was trained with; InputError as `interactions`."""
        data = self._load(dataset)
        own = self.vocabulary if self.config.training.start_from else None
        # compare ids first: other data may not even allow this split
        other_users = bool(self.vocabulary.users) and data.user_ids != self.vocabulary.users
        if own is None and (data.item_ids != self.vocabulary.items or other_users):
            raise self._other_data(dataset)
        split = split_of(self.config, data, own)
        if self.run.manifest.data != split.checksum:
            raise self._other_data(dataset)
        return split

    def _newer_split(self, dataset: str | None, part: str, moments: dict[str, str]) -> Split:
        if extra := sorted(moments.keys() - {"split", "valid_from", "test_from"}):
            raise InputError(f"unknown option {extra[0]!r}")
        config = TrainConfig.from_mapping({"split": "auto"} | moments, "options")
        return split_of(config, self._load(dataset), self.vocabulary, part=part)

    def _load(self, dataset: str | None) -> Interactions:
        place = self.config.data.dataset if dataset is None else str(path("dataset", dataset))
        data = load_interactions(place, self.config.data)
        if data.timestamps is None and needs_timestamps(self.model):
            raise InputError(f"{self._needs_timestamps()}, and {place} has none")
        return data

    def _other_data(self, dataset: str | None) -> InputError:
        return InputError(
            f"{dataset or self.config.data.dataset} is not the data that {self.run} was trained on; "
            "to evaluate it on newer data, give `newer=True`"
        )

    def _needs_timestamps(self) -> str:
        return f"the model was trained with {named('attention', self.config.model.attention)}, which needs timestamps"

    def _numbers(self, history: list[str]) -> list[int]:
        unknown = [item for item in dict.fromkeys(history) if item not in self.item_numbers]
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            hint = nearest(unknown[0], list(self.item_numbers)) if len(unknown) == 1 else ""
            raise InputError(f"the history has items that the model does not know: {shown}{hint}")
        return [self.item_numbers[item] for item in history]

    def _user(self, user: str | None) -> int:
        if user is None:
            raise InputError("the model knows users: give a user id as `user`")
        if user not in self.vocabulary.users:
            raise InputError(f"the model does not know the user {user!r}")
        return self.vocabulary.users.index(user)


def _of_newer(found: EvaluationReport, split: Split) -> NewerReport:
    assert split.unknown is not None
    return {**found, "split": split.description(), "left_out": asdict(split.unknown)}


def load(run: str | Path, device: str = "auto", *, trust_code: bool = False) -> Recommender:
    """The best model of a run directory, ready for use.

    Args:
        run: the run directory.
        device: ``auto``, ``cpu`` or ``cuda``.
        trust_code: execute the variants in the run even if somebody else wrote it.

    Raises:
        InputError: it is not a run directory, it has no weights yet, or somebody else's code would be executed.
        RunError: a file in it is damaged, and no copy can replace it.
    """
    truth(trust_code=trust_code)
    directory = RunDirectory.open(path("run", run))
    config, vocabulary = directory.config(), directory.vocabulary()
    tensors = directory.weights()
    target = choose_device(device)
    sources = kept_sources(directory, config.model, trust_code=trust_code)
    model = build_model(sources.model, vocabulary.catalogue(), target, config.data.dataset)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"the weights of {directory} do not fit its configuration") from error
    return Recommender(model.eval(), config, vocabulary, directory, target)
