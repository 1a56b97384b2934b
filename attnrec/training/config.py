"""Every option of a training, declared once: the command line, `config.toml` and Python read it from here."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_type_hints

from attnrec.data.reading.form import ReadOptions
from attnrec.errors import InputError, nearest
from attnrec.inputs import instead_of_file
from attnrec.options import check, option, shown
from attnrec.training.presets import with_preset

_MOST = 10**9  # of what is counted; what the machine can hold is another matter (`attnrec.training.memory`)


@dataclass(frozen=True)
class TrainConfig(ReadOptions):
    """Options of `attnrec train`; each field's metadata holds its help text and its limits.

    Raises InputError when a value is outside its limits.
    """

    attention: str = option(
        "sdpa",
        "Data",
        "Attention operator: NAME[:option=value,...], see `attnrec variants`; A+B+... gives one for each block.",
    )
    dataset: str = option("synthetic", "Data", "`synthetic` (embedded) or the path of an interaction file.")
    split: str = option(
        "auto",
        "Data",
        "What is held out: the last items of each user, all that is later than a moment, or the data's own parts "
        "(auto: these where there are any, else leave-one-out).",
        choices=("auto", "leave-one-out", "time", "given"),
    )
    valid_from: str = option(
        "",
        "Data",
        "time: when validation begins, as an ISO date (UTC) or a timestamp in the data's unit.",
        shown="80 % of the interactions",
    )
    test_from: str = option("", "Data", "time: when the test begins.", shown="90 % of the interactions")
    start_from: str = option(
        "", "Data", "Run whose best model is trained further; its items and model options stay.", shown="none"
    )

    max_len: int = option(50, "Model", "Most recent items of a history that are used (n).", min=1, max=_MOST)
    dim: int = option(64, "Model", "Width of embeddings and trunk (d).", min=1, max=_MOST)
    blocks: int = option(2, "Model", "Self-attention blocks; 0 leaves the embedding alone.", min=0, max=1000)
    heads: int = option(1, "Model", "Attention heads; must divide --dim.", min=1, max=_MOST)
    dropout: float = option(
        0.2,
        "Model",
        "Dropout of the embedding and of sub-layer outputs (with --norm original not after attention).",
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
        "Where LayerNorm stands: as in the authors' code, or before or after each sub-layer.",
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

    loss: str = option(
        "ce",
        "Training",
        "Loss: cross-entropy over all items (ce) or over sampled ones (ssm), or binary (bce, gbce).",
        choices=("ce", "ssm", "bce", "gbce"),
    )
    negatives: int = option(1, "Training", "Sampled negatives a position (bce, gbce, ssm).", min=1, max=_MOST)
    gbce_t: float = option(0.75, "Training", "Calibration t of gbce.", min=0.0, max=1.0)
    epochs: int = option(100, "Training", "Epochs at most.", min=1, max=_MOST)
    batch_size: int = option(128, "Training", "Users in a batch.", min=1, max=_MOST)
    optimizer: str = option("adam", "Training", "Optimizer.", choices=("adam", "adamw"))
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
        "Learning rate over the run: constant, a half cosine to 0, or lower whenever validation stalls.",
        choices=("constant", "cosine", "plateau"),
    )
    lr_patience: int = option(
        3, "Training", "plateau: evaluations without a better NDCG@10 before the rate falls.", min=1, max=_MOST
    )
    lr_factor: float = option(0.3, "Training", "plateau: what the rate is multiplied by then.", above=0.0, below=1.0)
    warmup: int = option(0, "Training", "Steps of linear warm-up of the learning rate.", min=0, max=_MOST)
    clip_norm: float = option(0.0, "Training", "Clip the global gradient norm to this; 0: never.", min=0.0)
    skip_nonfinite: int = option(
        0,
        "Training",
        "Steps left out at most because loss or gradient is not finite; 0: such a step ends it.",
        min=0,
        max=_MOST,
    )
    seed: int = option(0, "Training", "Seed of initialisation, order, negatives and dropout.", min=0, max=2**31)

    eval_every: int = option(5, "Evaluation", "Epochs between evaluations on validation.", min=1, max=_MOST)
    patience: int = option(
        5, "Evaluation", "Evaluations without a better NDCG@10 before stopping; 0: never.", min=0, max=_MOST
    )
    select: str = option(
        "full", "Evaluation", "Protocol whose validation NDCG@10 chooses the epoch.", choices=("full", "sampled")
    )
    cutoffs: tuple[int, ...] = option((1, 5, 10, 20), "Evaluation", "Cut-offs N of NDCG@N and Hit@N, as 1,5,10,20.")

    device: str = option("auto", "Machine", "Where to compute.", choices=("auto", "cpu", "cuda"))
    precision: str = option(
        "fp32", "Machine", "Arithmetic of the trunk (the loss is always fp32).", choices=("fp32", "tf32", "bf16")
    )

    def __post_init__(self) -> None:
        for field in fields(self):
            if "like" in field.metadata and getattr(self, field.name) is None:
                object.__setattr__(self, field.name, getattr(self, field.metadata["like"]))
            check(field, getattr(self, field.name))
        if self.dim % self.heads:
            raise InputError(f"--heads {self.heads} does not divide --dim {self.dim}")
        if (self.valid_from or self.test_from) and self.split != "time":
            raise InputError("--valid-from and --test-from belong to --split time")
        if self.start_from:
            object.__setattr__(self, "start_from", str(Path(self.start_from).resolve()))

    @classmethod
    def from_run(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """As `from_mapping`, of a file that holds all options; InputError where one is missing."""
        missing = sorted({field.name for field in fields(cls)} - values.keys())
        if missing:
            raise InputError(f"{source} is damaged or of another version: it does not say {', '.join(missing)}")
        return cls.from_mapping(values, source)

    @classmethod
    def from_mapping(cls, values: dict[str, Any], source: str = "the configuration") -> TrainConfig:
        """Build from plain values as TOML gives them; those of a ``preset`` stand behind those given.

        Raises InputError for an unknown key or preset, or a value of the wrong type.
        """
        types = get_type_hints(cls)
        converted = {}
        for key, value in with_preset(values).items():
            if key not in types:
                raise InputError(f"{source}: unknown option {shown(key)}{nearest(key, list(types))}")
            converted[key] = _convert(key, value, types[key], source)
        return cls(**converted)

    def to_mapping(self) -> dict[str, Any]:
        """All options as plain values, the inverse of `from_mapping`."""
        return dataclasses.asdict(self)


def read_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file; InputError if it is missing or malformed."""
    try:
        if other := instead_of_file(path):
            raise InputError(f"cannot read {path}: it is {other}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_toml(content, str(path))


def parse_toml(content: bytes, source: str) -> dict[str, Any]:
    """The options in the content of a TOML file; InputError if it is malformed."""
    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise InputError(f"{source} is not a file of options: its values are nested too deeply") from None
    except ValueError as error:  # TOML's own errors, bytes that are not UTF-8, a number of thousands of digits
        raise InputError(f"{source} is not valid TOML: {error}") from error


def to_toml(values: dict[str, Any]) -> str:
    """Flat values as TOML (strings, numbers, booleans and lists of them are written as in JSON)."""
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return text.replace("\x7f", "\\u007f")  # the one character that JSON leaves and TOML refuses


def _convert(key: str, value: Any, wanted: Any, source: str) -> Any:
    if isinstance(wanted, UnionType):  # of an option that takes the value of another one when it is None
        if value is None:
            return None
        wanted = wanted.__args__[0]
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{source}: {key} must be a finite number") from None
    if wanted == tuple[int, ...]:
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            return tuple(value)
        raise InputError(f"{source}: {key} must be a list of whole numbers, not {shown(value)}")
    if type(value) is not wanted:
        raise InputError(f"{source}: {key} must be {wanted.__name__}, not {shown(value)}")
    return value
