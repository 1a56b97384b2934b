"""A trained run in use: recommendations and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from attnrec.data.batches import batch_from_histories
from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions
from attnrec.data.splits import PARTS, Split
from attnrec.errors import InputError, RunError, nearest
from attnrec.evaluation.metrics import DEFAULT_CUTOFFS, check_cutoffs
from attnrec.evaluation.ranking import Evaluator
from attnrec.evaluation.segments import SegmentReport, segment_report
from attnrec.evaluation.targets import report
from attnrec.models.sasrec import SASRec
from attnrec.options import flag
from attnrec.training.config import TrainConfig
from attnrec.training.kept_variants import kept_variants
from attnrec.training.run_directory import WEIGHTS, RunDirectory, Vocabulary
from attnrec.training.setup import build_model, choose_device, needs_timestamps, split_of


class Recommender:
    """A model with its vocabulary; made by `load`.

    Attributes:
        model: in eval mode.
        config: the options it was trained with.
        item_numbers: the model's number (from 1) of each original item id.
    """

    def __init__(
        self, model: SASRec, config: TrainConfig, vocabulary: Vocabulary, run: RunDirectory, device: torch.device
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
    ) -> list[tuple[str, float]]:
        """The most likely next items after a history.

        Args:
            history: original item ids, oldest first; numbers are taken as their decimal strings.
            top: how many items to return (fewer where the catalogue ends).
            include_seen: whether items of the history may be recommended.
            user: original user id, where the model was trained with user vectors.
            timestamps: of the items of the history, where the model's attention needs them.

        Returns:
            original item ids and scores, best first.

        Raises:
            InputError: the history is empty or has unknown items, the user is unknown or missing, or timestamps
                are missing or do not belong to the history.
            RunError: a score is not a finite number.
        """
        if top < 1:
            raise InputError(f"top must be at least 1, not {top}")
        if isinstance(history, str):
            raise InputError("history must be a list of item ids, not one string")
        numbers = self._numbers([str(item) for item in history])
        if timestamps is None and needs_timestamps(self.model):
            raise InputError(f"{self._needs_timestamps()}: one for each item of the history")
        times = None if timestamps is None else [[float(time) for time in timestamps]]
        batch = batch_from_histories([numbers], self.config.max_len, times)
        if self.config.user_vector:
            batch = batch.of_user(self._user(user))
        output = self.model.last_output(batch.to(self.device)).float()
        scores = (output @ self.model.item_vectors.T)[0]
        if not scores[1:].isfinite().all():
            raise RunError(f"the scores of {self.run} are not finite: its {WEIGHTS} are damaged, or it diverged")
        scores[0] = -torch.inf
        if not include_seen:
            scores[torch.tensor(numbers, device=self.device)] = -torch.inf
        values, found = scores.topk(min(top, len(scores)))
        return [
            (self.vocabulary.items[number - 1], value)
            for value, number in zip(values.tolist(), found.tolist(), strict=True)
            if value != -torch.inf
        ]

    def title(self, item: str) -> str:
        """The title of an item by its original id, "" where the data brought none."""
        titles = self.vocabulary.titles
        return titles[self.item_numbers[item] - 1] if titles else ""

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
            cutoffs: N of the metrics.
            dataset: where the data are now; by default where they were.
            newer: the data may be other than the run's: items that the model does not know are left out of the
                histories, and users may be new.
            moments: with ``newer``, ``split``, ``valid_from`` and ``test_from`` as in `TrainConfig`.

        Returns:
            beside the two, ``unseen_targets`` and, for data that were cut to the model's vocabulary,
            ``unknown_targets`` (`attnrec.evaluation.targets.report`); with ``newer`` also ``split`` and ``left_out``,
            what was divided how and what was left out.

        Raises InputError when the data set is not the one the run was trained on, or a cut-off is not usable;
        RunError when a score is not a finite number.
        """
        evaluator, numbers = self._evaluator(part, cutoffs, dataset, newer, moments)
        found = report(evaluator, evaluator.run(self.model, self.device), numbers, self.vocabulary.trained())
        return found | (_of_newer(evaluator.split) if newer else {})

    def segments(
        self,
        *,
        part: str = "test",
        cutoffs: Sequence[int] = DEFAULT_CUTOFFS,
        dataset: str | None = None,
        newer: bool = False,
        **moments: str,
    ) -> SegmentReport:
        """`evaluate`, and in full ranking the metrics by segment of the users, ties, and what top-N lists hold.

        With ``newer``, popularity is counted in the training part of the newer data. Raises InputError as `evaluate`
        does.
        """
        evaluator, numbers = self._evaluator(part, cutoffs, dataset, newer, moments)
        found = segment_report(evaluator, self.model, numbers, self.device, self.vocabulary.trained())
        return replace(found, metrics=found.metrics | _of_newer(evaluator.split)) if newer else found

    def _evaluator(
        self, part: str, cutoffs: Sequence[int], dataset: str | None, newer: bool, moments: dict[str, str]
    ) -> tuple[Evaluator, tuple[int, ...]]:
        if part not in PARTS:
            raise InputError(f"part {part!r} is not one of {', '.join(PARTS)}")
        if moments and not newer:
            raise InputError(f"{flag(next(iter(moments)))} belongs to --newer: a run is evaluated on its own split")
        split = self._newer_split(dataset, part, moments) if newer else self.split(dataset)
        numbers = check_cutoffs(cutoffs, split.data.num_items)
        return Evaluator(split, part, self.config.max_len), numbers

    def interactions(self, dataset: str | None = None) -> Interactions:
        """The data of the run, from where it was or from ``dataset``; InputError if that is other data."""
        return self.split(dataset).data

    def split(self, dataset: str | None = None) -> Split:
        """How the run's data were divided for its training; InputError as `interactions`."""
        data = self._load(dataset)
        own = self.vocabulary if self.config.start_from else None
        # the ids are looked at first: other data may not even be divisible in this way
        if own is None and data.item_ids != self.vocabulary.items:
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
        data = load_interactions(dataset or self.config.dataset, self.config)
        if data.timestamps is None and needs_timestamps(self.model):
            raise InputError(f"{self._needs_timestamps()}, and {dataset or self.config.dataset} has none")
        return data

    def _other_data(self, dataset: str | None) -> InputError:
        return InputError(
            f"{dataset or self.config.dataset} is not the data that {self.run} was trained on; "
            "newer data are evaluated with --newer"
        )

    def _needs_timestamps(self) -> str:
        return f"the model was trained with --attention {self.config.attention}, which needs timestamps"

    def _numbers(self, history: list[str]) -> list[int]:
        unknown = [item for item in dict.fromkeys(history) if item not in self.item_numbers]
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            hint = nearest(unknown[0], list(self.item_numbers)) if len(unknown) == 1 else ""
            raise InputError(f"the history has items that the model does not know: {shown}{hint}")
        return [self.item_numbers[item] for item in history]

    def _user(self, user: str | None) -> int:
        if user is None:
            raise InputError("the model was trained with user vectors, so a user id is needed")
        if user not in self.vocabulary.users:
            raise InputError(f"the model does not know the user {user!r}")
        return self.vocabulary.users.index(user)


def _of_newer(split: Split) -> dict[str, Any]:
    assert split.unknown is not None
    return {"split": split.description(), "left_out": asdict(split.unknown)}


def load(run: str | Path, device: str = "auto", *, trust_code: bool = False) -> Recommender:
    """The best model of a run directory, ready for use.

    Args:
        run: the run directory.
        device: ``auto``, ``cpu`` or ``cuda``.
        trust_code: execute the variants in the run, where this user did not write it.

    Raises:
        InputError: it is not a run directory, or has no weights yet, or somebody else's code would be executed.
        RunError: a file in it is damaged, and nothing can stand in for it.
    """
    directory = RunDirectory.open(run)
    config, vocabulary = directory.config(), directory.vocabulary()
    tensors = directory.weights()
    target = choose_device(device)
    variants = kept_variants(directory, config.attention, trust_code=trust_code)
    model = build_model(config, len(vocabulary.items), len(vocabulary.users), target, variants=variants)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"the weights of {directory} do not fit its configuration") from error
    return Recommender(model.eval(), config, vocabulary, directory, target)
