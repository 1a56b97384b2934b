"""Published results of SASRec on public files, to check a baseline against.

A row applies to a comparison on the same data (by `attnrec.data.load.fingerprint`), with the same loss and the same
ranking; a row with sampled softmax applies to `ce`, which is no weaker. All rows with ``bce`` draw one negative per
position, so they only apply to such runs. If several rows apply, the lowest counts, because no source has a lower one.
A baseline counts as below its row if it is more than 5 % lower, about two of the standard deviations over seeds that
RecBoard reports for Beauty (0.0010 of 0.0354).
"""

from __future__ import annotations

from dataclasses import dataclass

NEAR = 0.95


@dataclass(frozen=True)
class KnownRow:
    """NDCG@10 on the test items, as published.

    Attributes:
        data: the usual name of the file.
        fingerprint: fingerprint of the data.
        loss: the option ``loss`` of a training.
        protocol: ``full`` or ``sampled``.
        ndcg10: the mean over seeds if the source has several.
        model: the source's name for the model.
        source: who reports it; messages continue with "reports".
    """

    data: str
    fingerprint: str
    loss: str
    protocol: str
    ndcg10: float
    model: str
    source: str


_BEAUTY, _SPORTS = ("Beauty 5-core", "84cbc198"), ("Sports 5-core", "aa48c334")
_ML_1M, _GAMES = ("ML-1M", "6565254e"), ("Games", "4916061e")
_RECBOARD = "RecBoard (benchmark of MTandHJ/RecBoard, 2026)"
_ESASREC = "eSASRec's README"
_PAPER = "its paper (Kang & McAuley, ICDM 2018, Table III)"
_PMIXER = "pmixer/SASRec.pytorch"
_DROSS = '"Turning Dross Into Gold Loss" (Klenitskiy & Vasilev, RecSys 2023)'

# fmt: off
KNOWN_ROWS = (
    #        data       loss   protocol   NDCG@10  model                           source
    KnownRow(*_BEAUTY, "bce", "full",    0.0354, "SASRec with this loss",        _RECBOARD),
    KnownRow(*_BEAUTY, "ce",  "full",    0.0531, "SASRec with sampled softmax",  _ESASREC),
    KnownRow(*_SPORTS, "bce", "full",    0.0200, "SASRec with this loss",        _RECBOARD),
    KnownRow(*_SPORTS, "ce",  "full",    0.0314, "SASRec with sampled softmax",  _ESASREC),
    KnownRow(*_ML_1M,  "bce", "full",    0.1341, "SASRec with this loss",        _DROSS),
    KnownRow(*_ML_1M,  "ce",  "full",    0.1821, "SASRec with cross-entropy",    _DROSS),
    KnownRow(*_ML_1M,  "bce", "sampled", 0.5905, "SASRec with this loss",        _PAPER),
    KnownRow(*_GAMES,  "bce", "sampled", 0.5360, "SASRec with this loss",        _PAPER),
    KnownRow(*_GAMES,  "bce", "sampled", 0.5308, "SASRec with this loss",        _PMIXER),
)
# fmt: on


def known_row(fingerprint: str, loss: str, negatives: int, protocol: str) -> KnownRow | None:
    """The lowest published row for these data, this loss and this protocol; None if there is none."""
    if loss == "bce" and negatives != 1:
        return None
    rows = [row for row in KNOWN_ROWS if (row.fingerprint, row.loss, row.protocol) == (fingerprint, loss, protocol)]
    return min(rows, key=lambda row: row.ndcg10, default=None)
