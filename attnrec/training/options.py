"""Options for training a model, and for the machine to train it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attnrec.core.options import MOST, Options, option


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Loss, optimiser, schedule and seed; InputError for a value outside its limits."""

    start_from: str = option(
        "", "Data", "Run whose best model to train further, with its items and model options.", shown="none"
    )
    loss: str = option(
        "ce",
        "Training",
        "Loss: cross-entropy over all items (ce) or over sampled ones (ssm), or binary (bce, gbce).",
        choices=("ce", "ssm", "bce", "gbce"),
    )
    negatives: int = option(1, "Training", "Sampled negatives per position (bce, gbce, ssm).", min=1, max=MOST)
    gbce_t: float = option(0.75, "Training", "Calibration t of gbce.", min=0.0, max=1.0)
    epochs: int = option(100, "Training", "Maximum number of epochs.", min=1, max=MOST)
    batch_size: int = option(128, "Training", "Users in a batch.", min=1, max=MOST)
    optimizer: str = option("adam", "Training", "Optimiser.", choices=("adam", "adamw"))
    beta2: float = option(
        0.999,
        "Training",
        "Adam's beta2, the decay of its average of squared gradients (beta1 is 0.9).",
        min=0.0,
        below=1.0,
    )
    lr: float = option(1e-3, "Training", "Learning rate.", above=0.0)
    weight_decay: float = option(
        0.0, "Training", "Weight decay: adam adds it to the gradient, adamw shrinks the weights.", min=0.0
    )
    schedule: str = option(
        "constant",
        "Training",
        "Learning rate over the run: constant, a half cosine to 0, or lowered when validation stalls (plateau).",
        choices=("constant", "cosine", "plateau"),
    )
    lr_patience: int = option(
        3, "Training", "With plateau: evaluations without a better NDCG@10 before the rate falls.", min=1, max=MOST
    )
    lr_factor: float = option(0.3, "Training", "With plateau: factor by which the rate falls.", above=0.0, below=1.0)
    warmup: int = option(0, "Training", "Steps of linear warm-up of the learning rate.", min=0, max=MOST)
    clip_norm: float = option(0.0, "Training", "Clip the global gradient norm to this; 0: never.", min=0.0)
    skip_nonfinite: int = option(
        0,
        "Training",
        "Maximum number of steps to skip because loss or gradient is not finite; 0: the first one ends the training.",
        min=0,
        max=MOST,
    )
    seed: int = option(0, "Training", "Seed of initialisation, order, negatives and dropout.", min=0, max=2**31)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_from:
            object.__setattr__(self, "start_from", str(Path(self.start_from).resolve()))


@dataclass(frozen=True)
class MachineOptions(Options):
    """Where and how precisely to compute; InputError for a value outside its limits."""

    device: str = option("auto", "Machine", "Where to compute.", choices=("auto", "cpu", "cuda"))
    precision: str = option(
        "fp32", "Machine", "Arithmetic of the trunk (the loss is always fp32).", choices=("fp32", "tf32", "bf16")
    )
