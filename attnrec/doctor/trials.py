"""The trials, run in processes that may crash or hang (`processes`).

Each trial does its own imports, so a broken torch only breaks the trials that need it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from attnrec.doctor import compilers, gpus
from attnrec.doctor.findings import Finding, NotRightError, examined, tried
from attnrec.doctor.machine import GROUP as MACHINE
from attnrec.doctor.machine import usable_cores

WORKS = "what works"
PLUG_INS = "plug-ins"


@dataclass(frozen=True)
class Trial:
    """Something to try.

    Attributes:
        group, title: group and name of the finding if the process ends before the trial does.
        findings: runs the trial.
        needed: as in `Finding`.
        needs_torch: whether the trial cannot run if torch cannot be imported.
    """

    group: str
    title: str
    findings: Callable[[], Iterable[Finding]]
    needed: bool = False
    needs_torch: bool = True


def _torch() -> Iterator[Finding]:
    yield (build := tried(MACHINE, "torch's build", _build, advice="pip install --force-reinstall torch"))
    if build.status != "ok":
        return
    yield tried(MACHINE, "threads", _threads, advice=f"set OMP_NUM_THREADS={usable_cores()}")
    yield from gpus.found(MACHINE)


def _build() -> str:
    import torch

    if torch.version.cuda is None:
        return "for AMD GPUs" if torch.version.hip else "for the CPU only"
    version = torch.backends.cudnn.version() or 0  # 9.1.2 is 90102
    return f"for CUDA {torch.version.cuda}, cuDNN {version // 10_000}.{version // 100 % 100}.{version % 100}"


def _threads() -> str:
    import torch

    threads, cores, named = torch.get_num_threads(), usable_cores(), os.environ.get("OMP_NUM_THREADS")
    text = f"{threads} on {cores} core{'s' * (cores != 1)}" + (f" (OMP_NUM_THREADS={named})" if named else "")
    if threads > cores:
        raise NotRightError(f"{text}, which is slow")
    return text


def _training() -> Iterator[Finding]:
    advice = "see the versions above; a fresh virtual environment often helps"
    yield tried(WORKS, "training on the CPU", _train, advice=advice, needed=True)


def _train() -> str:
    """Read data, train and test a model, write its run and open it again."""
    from attnrec.api import train
    from attnrec.recommender import load

    before = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder, "pairs.txt"), Path(folder, "run")
        pairs = ((user, (user + step) % 20) for user in range(40) for step in range(8))
        data.write_text("".join(f"u{user} i{item}\n" for user, item in pairs))
        train(dataset=str(data), out=run, epochs=1, dim=8, max_len=8, device="cpu", trust_data=True)
        if len(load(run, device="cpu").recommend(["i1", "i2"], top=3)) != 3:
            raise NotRightError("a model of 20 items did not recommend 3 of them")
    return f"a small model in {time.perf_counter() - before:.1f} s"


def _bf16() -> Iterator[Finding]:
    yield tried(WORKS, "bf16 on the CPU", partial(gpus.autocast, "cpu"), advice="use `precision='fp32'`")


def _plug_ins() -> Iterator[Finding]:
    """A finding for each variant or model that an installed package offers."""
    from attnrec.attention import ATTENTION
    from attnrec.models.base import MODELS

    for registry in (ATTENTION, MODELS):
        offered = [entry for entry in registry.entries() if entry.source not in ("built-in", "registered")]
        if not offered:
            none = f"no installed package offers any (entry points {registry.group})"
            yield Finding(PLUG_INS, registry.option, "not here", none)
        for entry in offered:
            if entry.component is not None:
                yield Finding(PLUG_INS, entry.name, "ok", f"from {entry.source}")
            else:
                yield Finding(PLUG_INS, entry.name, "no", entry.error, f"update or remove {entry.source}")


TRIALS = {
    "torch": Trial(MACHINE, "torch's build", _torch, needs_torch=False),
    "training": Trial(WORKS, "training on the CPU", _training, needed=True),
    "bf16": Trial(WORKS, "bf16 on the CPU", _bf16),
    "plug-ins": Trial(PLUG_INS, "attention", _plug_ins),
    "cuda": Trial(WORKS, "CUDA", partial(gpus.trials, WORKS)),
    "triton": Trial(WORKS, "Triton kernels", partial(compilers.kernels, WORKS)),
    "sm_80": Trial(WORKS, "compiling for sm_80", partial(compilers.without_gpu, WORKS), needs_torch=False),
    "torch.compile": Trial(WORKS, "torch.compile", partial(compilers.torch_compile, WORKS)),
}
"""The trials by the names that `main` takes."""


def main(names: Iterable[str]) -> None:
    """Run the named trials in order; each start and each finding is a line of JSON on stdout."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as told:
        os.dup2(2, 1)  # other output goes to stderr, so that it is not taken for a finding
        for name in names:
            print(json.dumps({"trying": name}), file=told, flush=True)
            for finding in _findings(TRIALS[name]):
                print(json.dumps(asdict(finding)), file=told, flush=True)


def _findings(trial: Trial) -> Iterator[Finding]:
    try:
        if trial.needs_torch:
            import torch  # noqa: F401
    except Exception:  # noqa: BLE001  (the trial `torch` says why)
        yield Finding(trial.group, trial.title, "no", "torch cannot be imported", needed=trial.needed)
    else:
        yield from examined(trial.group, trial.findings, trial.title, needed=trial.needed)


if __name__ == "__main__":
    main(sys.argv[1:])
