"""Compare variants over seeds: the same split, batches, negatives, candidates and initial values for all.

A comparison is a folder of ordinary run directories:

| path | content |
|---|---|
| `comparison.toml` | the options that all runs share, the variants and the seeds |
| `runs/VARIANT/seed-S/` | one run, as `attnrec train` leaves it |
| `comparison.json`, `comparison.md` | the result |
| `figures/` | the figures |

Run again with the same folder, it repeats no finished run and resumes one that was interrupted; more variants
or seeds may be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnrec.attention import find_attention, is_of_this_program, parse_blocks, resolved_options
from attnrec.data.load import load_interactions
from attnrec.data.splits import Split, resolved_kind
from attnrec.errors import InputError
from attnrec.evaluation.metrics import check_cutoffs
from attnrec.files import make_folders, write_atomically
from attnrec.locks import LOCK, FolderLock
from attnrec.options import flag
from attnrec.training.config import TrainConfig, read_toml, to_toml
from attnrec.training.kept_variants import changed_variants
from attnrec.training.run_directory import RunDirectory
from attnrec.training.setup import build_model, choose_device, split_of

PLAN = "comparison.toml"
PROTOCOLS = {"full": "full ranking", "sampled": "sampled-100"}
OF_ONE_RUN = frozenset({"attention", "seed"})
# where the data lies and where it is computed may differ; the data itself is compared by its fingerprint
MAY_DIFFER = frozenset({"dataset", "device", "format"})


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Attributes:
        path: the comparison's folder.
        config: the options of every run, but for its variant and its seed.
        variants: as given to ``--attention``; differences are against the first.
        seeds: of the runs of each variant.
        trust_code: whether variants kept in runs that somebody else wrote may be executed.
    """

    path: Path
    config: TrainConfig
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    trust_code: bool = False

    def run(self, variant: str, seed: int) -> RunDirectory:
        """The directory of one run, existing or not."""
        return RunDirectory(self.path / "runs" / folder_name(variant) / f"seed-{seed}")

    def run_config(self, variant: str, seed: int) -> TrainConfig:
        return replace(self.config, attention=variant, seed=seed)

    def runs(self) -> list[tuple[str, int]]:
        """All runs, every variant with one seed before the next seed, so that a drift of the machine meets all."""
        return [(variant, seed) for seed in self.seeds for variant in self.variants]

    def finished(self, variant: str, seed: int) -> bool:
        """Whether that run has its result."""
        return self.run(variant, seed).finished()

    def write_plan(self) -> None:
        plan = {"variants": self.variants, "seeds": self.seeds} | _shared_options(self.config)
        write_atomically(self.path / PLAN, to_toml(plan).encode())


def plan(
    config: TrainConfig, variants: Sequence[str], seeds: int, path: str | Path, *, trust_code: bool = False
) -> Comparison:
    """Check what is asked for, before anything is trained or written.

    Args:
        config: the options of every run; ``attention`` is ignored, and ``seed`` is the first seed.
        variants: at least two, each as ``NAME[:option=value,...]``.
        seeds: how many seeds.
        path: the folder, new or with a comparison of the same options.
        trust_code: execute the variants in runs that somebody else wrote, where they are resumed.

    Raises:
        InputError: a variant, an option, the data or the folder cannot be used.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {seeds}")
    if len(variants) < 2:
        raise InputError("a comparison needs at least two variants: give --attention twice or more")
    _check_variants(variants)
    if config.start_from:
        raise InputError("--start-from: the runs of a comparison train from the beginning")
    data = load_interactions(config.dataset, config)
    config = replace(config, split=resolved_kind(config.split, data))
    split = split_of(config, data)
    check_cutoffs(config.cutoffs, data.num_items)
    device = choose_device(config.device)
    timed = data.timestamps is not None
    for variant in variants:
        build_model(replace(config, attention=variant), data.num_items, data.num_users, device, timestamps=timed)
    numbers = tuple(range(config.seed, config.seed + seeds))
    comparison = Comparison(Path(path), config, tuple(variants), numbers, trust_code)
    _check_folder(comparison, split)
    return comparison


def prepare(comparison: Comparison) -> None:
    """Make the folder and record the plan; InputError or RunError where that cannot be."""
    make_folders(comparison.path)
    comparison.write_plan()


@contextmanager
def claimed(comparison: Comparison) -> Iterator[None]:
    """`prepare`, and keep other processes from training in the folder meanwhile; InputError if one does already."""
    make_folders(comparison.path)
    with FolderLock(comparison.path):
        _check_plan(comparison)  # another process may have been faster
        prepare(comparison)
        yield


def open_comparison(path: str | Path) -> Comparison:
    """The comparison in a folder; InputError if there is none."""
    file = Path(path) / PLAN
    if not file.is_file():
        raise InputError(f"{path} is not a comparison (it has no {PLAN})")
    values = read_toml(file)
    try:
        variants, seeds = tuple(map(str, values.pop("variants"))), tuple(map(int, values.pop("seeds")))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} does not say its variants and seeds") from error
    of_one_run = {name: getattr(TrainConfig(), name) for name in OF_ONE_RUN}
    comparison = Comparison(Path(path), TrainConfig.from_run(of_one_run | values, str(file)), variants, seeds)
    check_places(comparison)
    return comparison


def is_comparison(path: str | Path) -> bool:
    return (Path(path) / PLAN).is_file()


def folder_name(variant: str) -> str:
    """A variant as the name of a folder."""
    return re.sub(r"[^\w.=,-]+", "_", variant)


def _shared_options(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_mapping().items() if name not in OF_ONE_RUN}


def _check_variants(variants: Sequence[str]) -> None:
    seen: dict[Any, str] = {}
    folders: dict[str, str] = {}
    for variant in variants:
        meaning = tuple(
            (find_attention(spec.name), tuple(sorted(resolved_options(spec).items()))) for spec in parse_blocks(variant)
        )
        for spec in parse_blocks(variant):
            if is_of_this_program(spec.name):
                raise InputError(
                    f"{spec.name} is registered in this program alone, and every run of a comparison is a program of "
                    "its own: give it as FILE.py:CLASS or MODULE:CLASS"
                )
        if meaning in seen:
            same = seen[meaning]
            how = f"{same} and {variant} are the same" if same != variant else f"{variant} is given twice"
            raise InputError(f"two identical variants: {how}")
        folder = folder_name(variant)
        if folder in folders:
            raise InputError(f"{folders[folder]} and {variant} would share a folder")
        seen[meaning], folders[folder] = variant, variant


def _check_folder(comparison: Comparison, split: Split) -> None:
    path = comparison.path
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is not a directory")
    _check_plan(comparison)
    _check_runs(comparison, split)


def _check_plan(comparison: Comparison) -> None:
    """InputError where the folder holds something else, or a comparison with other options."""
    path = comparison.path
    if not path.is_dir() or not {entry.name for entry in path.iterdir()} - {LOCK}:
        return
    if not is_comparison(path):
        raise InputError(f"{path} holds other files, and no {PLAN}; choose another --out")
    before, now = (_shared_options(c.config) for c in (open_comparison(path), comparison))
    for name, value in now.items():
        if name not in MAY_DIFFER and before[name] != value:
            raise InputError(
                f"{path} holds a comparison with {flag(name)} {before[name]}, not {value}; choose another --out"
            )


def check_places(comparison: Comparison) -> None:
    """InputError where the run at the place of a variant and seed is that of another, or of other data."""
    data: dict[str, RunDirectory] = {}
    for variant, seed in comparison.runs():
        run = comparison.run(variant, seed)
        if not run.is_run():
            continue
        data.setdefault(run.manifest.data, run)
        if len(data) > 1:
            raise InputError(f"{run} was trained on other data than {next(iter(data.values()))}")
        found = run.config()
        for name, expected in (("attention", variant), ("seed", seed)):
            if getattr(found, name) != expected:
                raise InputError(f"{run} is a run with {flag(name)} {getattr(found, name)}, not {expected}")


def _check_runs(comparison: Comparison, split: Split) -> None:
    """InputError where a run there is another one, of other data, or of another version of a variant."""
    path = comparison.path
    check_places(comparison)
    for variant, seed in comparison.runs():
        run = comparison.run(variant, seed)
        if not run.is_run():
            continue
        if run.manifest.data != split.checksum:
            raise InputError(
                f"{path} holds runs on other data than {comparison.config.dataset}, or that hold out other items; "
                "choose another --out"
            )
        for file in changed_variants(run, variant):
            raise InputError(
                f"{file} has changed since {path} was begun with it; give the new version another name, "
                "or choose another --out"
            )
