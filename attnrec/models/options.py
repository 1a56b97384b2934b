"""Options for the shape of a model: those that all models share, and those of SASRec's trunk."""

from __future__ import annotations

from dataclasses import dataclass

from attnrec.core.errors import InputError
from attnrec.core.options import MOST, Options, named, option
from attnrec.core.spec import Spec, Specs


@dataclass(frozen=True)
class ModelOptions(Options):
    """The model and its sizes; the switches are the ablations of SASRec's Table IV.

    A model uses the options in its class's ``uses``. InputError for a value outside its limits.
    """

    model: Spec = option(Spec("sasrec"), "Model", "Model: NAME[:option=value,...], see `attnrec variants`.")
    attention: Specs = option(
        Specs((Spec("sdpa"),)),
        "Model",
        "Attention operator or mixer: NAME[:option=value,...], see `attnrec variants`; A+B+... gives one for each "
        "block.",
    )
    max_len: int = option(50, "Model", "How many of the most recent items of a history are used (n).", min=1, max=MOST)
    dim: int = option(64, "Model", "Width of embeddings and trunk (d).", min=1, max=MOST)
    blocks: int = option(2, "Model", "Self-attention blocks; 0: only the embedding.", min=0, max=1000)
    heads: int = option(1, "Model", "Attention heads; must divide `dim`.", min=1, max=MOST)
    dropout: float = option(
        0.2,
        "Model",
        "Dropout of the embedding and of sub-layer outputs (with `norm='original'` not after attention).",
        min=0.0,
        below=1.0,
    )
    attention_dropout: float | None = option(
        0.0, "Model", "Dropout of attention weights.", like="dropout", min=0.0, below=1.0
    )
    feed_forward_dropout: float | None = option(
        None, "Model", "Dropout after the ReLU of the feed-forward network.", like="dropout", min=0.0, below=1.0
    )
    norm: str = option(
        "original",
        "Model",
        "Position of LayerNorm: as in the authors' code, or before or after each sub-layer.",
        choices=("original", "pre", "post"),
    )
    bias: bool = option(True, "Model", "Biases of the query, key, value and output projections.")
    position: bool = option(True, "Model", "Learned position embedding.")
    shared_embedding: bool = option(True, "Model", "Score with the input's item embedding.")
    residual: bool = option(True, "Model", "Residual connections.")
    user_vector: bool = option(False, "Model", "Add a learned vector of the user to the output.")
    zero_init: bool | None = option(
        None,
        "Model",
        "Start the last matrix of each sub-layer at zero, so that its residual branch adds nothing at first.",
        like="residual",
    )
    init_std: float = option(0.0, "Model", "Standard deviation of the initial embeddings; 0: Glorot's.", min=0.0)

    @property
    def variant(self) -> str:
        """The name of the variant: its attention, or the model if that is not SASRec."""
        return self.attention.label if self.model == ModelOptions.model else self.model.label

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % self.heads:
            raise InputError(f"{named('heads', self.heads)} does not divide {named('dim', self.dim)}")
