"""Leave-one-out: the last item of a user is the test item, the one before it the validation item.

Protocol of Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018), section IV.A.
Users with fewer than three interactions are in the training part only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import DataError, Interactions

PARTS = ("valid", "test")


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """What training, validation and test may see of each history.

    Attributes:
        data: the interactions.
        train_lengths: int64 [num_users], the length of the training part of each history.
        held_out: int64 [M], the users that have a validation and a test item.
    """

    data: Interactions
    train_lengths: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]

    def history_lengths(self, part: str) -> npt.NDArray[np.int64]:
        """How much of each held-out user's history may be seen when ``part`` is predicted, int64 [M].

        The test history includes the validation item.
        """
        lengths = self.data.lengths[self.held_out]
        return lengths - (2 if part == "valid" else 1)

    def targets(self, part: str) -> npt.NDArray[np.int32]:
        """The held-out item of each held-out user, int32 [M]."""
        starts = self.data.offsets[self.held_out]
        return self.data.items[starts + self.history_lengths(part)]


def leave_one_out(data: Interactions) -> LeaveOneOut:
    """Split ``data``; raises DataError when no user is long enough to be evaluated or trained on."""
    lengths = data.lengths
    enough = lengths >= 3
    train_lengths = np.where(enough, lengths - 2, lengths)
    if not enough.any():
        raise DataError(f"{data.name}: no user has the 3 interactions that a validation and a test item need")
    if not (train_lengths >= 2).any():
        raise DataError(f"{data.name}: no user has 2 training interactions (4 in all), so there is nothing to learn")
    return LeaveOneOut(data, train_lengths, np.flatnonzero(enough))
