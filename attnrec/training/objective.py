"""The training objective: draws negatives if the loss needs them, and applies the loss to a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from attnrec.core.options import named
from attnrec.data.batches import SequenceBatch, ragged_arange
from attnrec.data.negatives import UnseenItems
from attnrec.data.splits import Split
from attnrec.training.config import TrainConfig
from attnrec.training.losses import full_softmax_loss, gbce_beta, sampled_loss, sampled_softmax_loss


class Objective:
    """Loss of a model on a batch.

    Negatives are drawn for all positions of a batch at once, uniformly from the items that the user has not
    interacted with in training (validation and test items may be drawn: training must not know them).
    """

    def __init__(self, config: TrainConfig, split: Split, device: torch.device) -> None:
        self.loss = config.training.loss
        self.negatives = config.training.negatives
        self.positive_weight = 1.0
        if config.training.loss == "gbce":
            self.positive_weight = gbce_beta(config.training.negatives, split.data.num_items, config.training.gbce_t)
        if config.training.loss != "ce":
            rows = ragged_arange(split.data.offsets[:-1], split.train_lengths)
            unseen = UnseenItems(split.data.items[rows], split.train_lengths, split.data.num_items)
            users = (split.train_lengths >= 2).nonzero()[0]
            unseen.require(1, users, f"{named('loss', config.training.loss)} has no negative to draw; use `loss='ce'`")
            self.unseen = unseen.to(device)

    def __call__(self, outputs: Tensor, table: Tensor, batch: SequenceBatch, generator: torch.Generator) -> Tensor:
        """Mean loss over the positions of a batch, a scalar.

        Args:
            outputs: output of the model at each position, [N, d].
            table: item vectors [num_items + 1, d].
            batch: a batch with targets.
            generator: random generator for the negatives.
        """
        assert batch.targets is not None
        if self.loss == "ce":
            return full_softmax_loss(outputs, table, batch.targets)
        negatives = self.unseen.draw(batch.users[:, None], (len(batch.items), self.negatives), generator)
        if self.loss == "ssm":
            return sampled_softmax_loss(outputs, table, batch.targets, negatives)
        return sampled_loss(outputs, table, batch.targets, negatives, self.positive_weight)
