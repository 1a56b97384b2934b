"""Compare variants over seeds: the same split, batches, negatives, candidates and initial values for all.

A comparison is a folder of ordinary run directories:

| path | content |
|---|---|
| `comparison.toml` | the options that all runs share, the variants and the seeds |
| `runs/VARIANT/seed-S/` | one run, as `attnrec train` leaves it |
| `comparison.json`, `comparison.md` | the result |
| `figures/` | the figures |

A second call with the same folder skips finished runs and resumes interrupted ones. It may add variants or seeds;
those that the folder already has stay in it and in its result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attnrec.core.devices import choose_device
from attnrec.core.errors import InputError
from attnrec.core.files import make_folders, write_atomically
from attnrec.core.locks import LOCK, FolderLock
from attnrec.core.options import named
from attnrec.core.spec import Spec, Specs
from attnrec.data.load import load_interactions
from attnrec.data.splits import Split, resolved_kind
from attnrec.evaluation.metrics import check_cutoffs
from attnrec.experiments.variants import check_label, folder_name, in_words, labelled, own_options, plain
from attnrec.training.claiming import is_aside
from attnrec.training.config import TrainConfig, read_toml, to_toml
from attnrec.training.kept_sources import changed_sources, mended, named_sources
from attnrec.training.run_directory import RunDirectory
from attnrec.training.setup import MAY_CHANGE_AFTER_DIVERGING, build_for, split_of

PLAN, RUNS = "comparison.toml", "runs"
PROTOCOLS = {"full": "full ranking", "sampled": "sampled-100"}
OF_ONE_RUN = frozenset({"attention", "seed"})
# the path of the data and the device may differ; the data itself is compared by its fingerprint
MAY_DIFFER = frozenset({"dataset", "device", "format"})


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Attributes:
        path: the comparison's folder.
        config: the options that the runs share.
        variants: each variant's own options by label, including ``attention`` or ``model``; differences are from the
            first variant.
        seeds: seeds of each variant's runs.
        trust_code: whether code of variants may be executed that is stored in runs that somebody else wrote.
        asked: the requested runs, by variant and seed; of the others, only finished ones count. None: all.
    """

    path: Path
    config: TrainConfig
    variants: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    trust_code: bool = False
    asked: frozenset[tuple[str, int]] | None = field(default=None, compare=False)

    def run(self, variant: str, seed: int) -> RunDirectory:
        """The directory of one run, existing or not."""
        return RunDirectory(self.path / RUNS / folder_name(variant) / f"seed-{seed}")

    def run_config(self, variant: str, seed: int) -> TrainConfig:
        return self.config.changed(**self.variants[variant], seed=seed)

    def runs(self) -> list[tuple[str, int]]:
        """All runs: every variant with one seed, then the next seed, so a drift of the machine affects all alike."""
        return [(variant, seed) for seed in self.seeds for variant in self.variants]

    def finished(self, variant: str, seed: int) -> bool:
        """Whether that run has a result."""
        return self.run(variant, seed).finished()

    def finished_seeds(self, variant: str) -> tuple[int, ...]:
        """Seeds of the variant's runs that have a result."""
        return tuple(seed for seed in self.seeds if self.finished(variant, seed))

    def wanted(self) -> list[tuple[str, int]]:
        """The requested runs, in the order of `runs`."""
        return [run for run in self.runs() if self.asked is None or run in self.asked]

    def shown(self) -> list[str]:
        """The requested variants, and those with a finished run."""
        asked = {variant for variant, _ in self.wanted()}
        return [name for name in self.variants if name in asked or self.finished_seeds(name)]

    def write_plan(self) -> None:
        variants = [{"label": label} | plain(own) for label, own in self.variants.items()]
        plan = {"variants": variants, "seeds": self.seeds} | _shared_options(self.config)
        write_atomically(self.path / PLAN, to_toml(plan).encode())


def plan(
    config: TrainConfig,
    variants: Sequence[Any],
    seeds: int,
    path: str | Path,
    *,
    trust_code: bool = False,
    overwrite: bool = False,
) -> Comparison:
    """Check the request before anything is trained or written.

    Args:
        config: the options of every run; ``attention`` is ignored, and ``seed`` is the first seed.
        variants: at least two, each as ``NAME[:option=value,...]`` or with its own options.
        seeds: how many seeds.
        path: the folder, new or with a comparison of the same options.
        trust_code: execute code of variants when resuming runs that somebody else wrote.
        overwrite: accept any comparison in the folder, as it will be replaced (`attnrec.experiments.replacing`).

    Raises:
        InputError: a variant, an option, the data or the folder cannot be used.
    """
    if seeds < 1:
        raise InputError(f"`seeds` must be at least 1, not {seeds}")
    if len(variants) < 2:
        raise InputError(f"a comparison needs at least two variants, not {len(variants)}")
    config = config.changed(attention=TrainConfig().model.attention)
    variants_by_label = labelled(config, variants)
    if config.training.start_from:
        raise InputError("a comparison trains from scratch, so `start_from` cannot be used")
    data = load_interactions(config.data.dataset, config.data)
    config = config.changed(split=resolved_kind(config.data.split, data))
    split = split_of(config, data)
    check_cutoffs(config.evaluation.cutoffs, data.num_items)
    device = choose_device(config.machine.device)
    for own in variants_by_label.values():
        one = config.changed(**own)
        build_for(one, data, device, named_sources(one.model))
    numbers = tuple(range(config.training.seed, config.training.seed + seeds))
    comparison = Comparison(Path(path), config, variants_by_label, numbers, trust_code)
    if not (overwrite and is_comparison(comparison.path)):
        comparison = joined(comparison)
        _check_runs(comparison, split)
    return comparison


def joined(comparison: Comparison) -> Comparison:
    """The comparison plus the other variants and seeds in its folder, which will not be trained.

    The variants of ``comparison`` come first. InputError if the folder holds something else, a comparison with other
    options, or one of the variants under another name.
    """
    check_plan(comparison)
    if not is_comparison(comparison.path):
        return comparison
    there = open_comparison(comparison.path)
    variants = dict(comparison.variants)
    for label, own in there.variants.items():
        for name, asked in comparison.variants.items():
            if name == label and plain(asked) != plain(own):
                if in_words(asked) == in_words(own) and _called(asked) == _called(own):
                    raise InputError(f"{comparison.path} has another version of {label}; choose another `out`")
                has = in_words(own) or "no options of its own"
                raise InputError(f"{comparison.path} has another variant {label}, with {has}: choose another label")
            if name != label and plain(asked) == plain(own):
                raise InputError(f"{comparison.path} has {name} already: call it {label}, or choose another `out`")
            if name != label and folder_name(name) == folder_name(label):
                raise InputError(f"{name} and {label} of {comparison.path} would share a folder: choose another label")
        variants.setdefault(label, own)
    seeds = tuple(sorted({*comparison.seeds, *there.seeds}))
    return replace(comparison, variants=variants, seeds=seeds, asked=frozenset(comparison.wanted()))


def _called(own: Mapping[str, Any]) -> list[str]:
    """The model and attention of a variant as in tables, where all versions of a notebook's class look the same."""
    return [own[name].label for name in ("model", "attention") if name in own]


def prepare(comparison: Comparison) -> None:
    """Create the folder and write the plan; InputError or RunError if that fails."""
    make_folders(comparison.path)
    comparison.write_plan()


@contextmanager
def claimed(comparison: Comparison) -> Iterator[Comparison]:
    """`prepare`, and lock the folder against other processes; InputError if another one is already training there.

    Yields the comparison with everything that others have added to the folder since it was planned.
    """
    make_folders(comparison.path)
    with FolderLock(comparison.path):
        comparison = joined(comparison)
        prepare(comparison)
        yield comparison


def open_comparison(path: str | Path) -> Comparison:
    """The comparison in a folder; InputError if there is none."""
    file = Path(path) / PLAN
    if not is_comparison(path):
        raise InputError(f"{path} is not a comparison (it has no {PLAN})")
    values = read_toml(file)
    try:
        listed = [(own.pop("label"), own) for own in map(dict, values.pop("variants"))]
        seeds = tuple(values.pop("seeds"))
        for label, _ in listed:
            check_label(label)
        readable = all(type(seed) is int for seed in seeds) and all(label for label, _ in listed)
        if not readable or len({*seeds}) < len(seeds) or len(dict(listed)) < len(listed):
            raise ValueError("a label or a seed is missing, twice there, or of another type")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} has no readable list of variants and seeds") from error
    usual = TrainConfig()
    of_one_run = {name: usual.value(name) for name in OF_ONE_RUN}
    config = TrainConfig.from_run(of_one_run | values, str(file))
    comparison = Comparison(Path(path), config, {label: own_options(config, own) for label, own in listed}, seeds)
    check_places(comparison)
    return comparison


def is_comparison(path: str | Path) -> bool:
    return os.path.isfile(Path(path) / PLAN)


def _shared_options(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_mapping().items() if name not in OF_ONE_RUN}


def check_plan(comparison: Comparison) -> None:
    """InputError if the folder holds something else, or a comparison with other options."""
    path = comparison.path
    if os.path.exists(path) and not path.is_dir():
        raise InputError(f"{path} is not a directory")
    if not os.path.isdir(path) or all(entry.name == LOCK or is_aside(entry.name) for entry in path.iterdir()):
        return
    if not is_comparison(path):
        raise InputError(f"{path} holds other files, but no {PLAN}; choose another `out`")
    before, now = (_shared_options(c.config) for c in (open_comparison(path), comparison))
    for name, value in now.items():
        if name not in MAY_DIFFER and before[name] != value:
            raise InputError(
                f"{path} holds a comparison with {named(name, before[name])}, not {value}; choose another `out`"
            )


def check_places(comparison: Comparison) -> None:
    """InputError if a run's folder holds a run with other options, or on other data."""
    data: dict[str, RunDirectory] = {}
    for variant, seed in comparison.runs():
        run = comparison.run(variant, seed)
        if not run.is_run():
            continue
        data.setdefault(run.manifest.data, run)
        if len(data) > 1:
            raise InputError(f"{run} was not trained on the same data as {next(iter(data.values()))}")
        found, wanted = run.config(), comparison.run_config(variant, seed)
        # those that may change on resuming are warned of
        passed_over = MAY_DIFFER | MAY_CHANGE_AFTER_DIVERGING - comparison.variants[variant].keys()
        for name in wanted.to_mapping():
            before, expected = found.value(name), wanted.value(name)
            if name not in passed_over and before != expected:
                same = isinstance(expected, Spec | Specs) and before.label == expected.label
                other = f"another version of {before.label}; choose another `out`" if same else ""
                raise InputError(f"{run} is a run with {other or f'{named(name, before)}, not {expected}'}")


def _check_runs(comparison: Comparison, split: Split) -> None:
    """InputError if a run in the folder has other options, other data, or another version of a variant."""
    path, wanted = comparison.path, comparison.wanted()
    check_places(comparison)
    for variant, seed in comparison.runs():
        run = comparison.run(variant, seed)
        if not run.is_run():
            continue
        if run.manifest.data != split.checksum:
            raise InputError(
                f"{path} holds runs on other data than {comparison.config.data.dataset}, or that hold out other items; "
                "choose another `out`"
            )
        if (variant, seed) not in wanted or mended(run, run.config().model):
            continue
        for file in changed_sources(run, run.config().model):
            raise InputError(
                f"{file} has changed since {path} was started with it; give the new version another name, "
                "or choose another `out`"
            )
