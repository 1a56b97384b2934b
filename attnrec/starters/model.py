r"""Your own model: a gated recurrent network whose states are compared with the vectors of the items.

    score(t, i) = <state_t, vector_i>

Change what happens between the two, then:

    NEXT_STEPS
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from attnrec.data.batches import SequenceBatch
from attnrec.data.catalogue import Catalogue
from attnrec.models.base import SequentialModel, item_table
from attnrec.models.options import ModelOptions


class StarterModel(SequentialModel):
    """A GRU over the items, with a dense layer after it.

    Args:
        layers: number of layers of the GRU.
    """

    paper = ""  # the paper that the idea comes from, in one line; `attnrec variants` shows it
    uses = frozenset({"max_len", "dim", "dropout"})  # shared options that this model uses; the others are refused

    # Arguments after * are the model's options on the command line: each needs a type and a default.
    def __init__(self, catalogue: Catalogue, config: ModelOptions, *, layers: int = 1) -> None:
        super().__init__(catalogue, config)
        if layers < 1:
            raise ValueError(f"layers={layers} must be at least 1")
        self.items = item_table(catalogue, config.dim)  # row 0 is padding
        self.gru = nn.GRU(config.dim, config.dim, layers, batch_first=True)
        self.dense = nn.Linear(config.dim, config.dim)
        nn.init.xavier_uniform_(self.items.weight[1:])

    def forward(self, batch: SequenceBatch) -> Tensor:
        """States [N, dim] at every position of the batch; each may depend only on the items up to its own."""
        # the items of all histories follow one another, [N], without padding; rectangle turns rows [N, dim] into
        # [B, T, dim], each history at the left end, and rows turns them back
        x = F.dropout(self.items(batch.items), self.config.dropout, self.training)
        states, _ = self.gru(batch.rectangle(x))
        return self.dense(batch.rows(states))

    @property
    def item_vectors(self) -> Tensor:
        """The vectors that states are compared with, [num_items + 1, dim]."""
        return self.items.weight
