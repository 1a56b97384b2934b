"""What works here: versions, machine, and whether training, kernels, compilers and GPUs do what they should.

Each trial runs in a separate process, so a library that crashes or hangs is a finding and does not end the examination.
This process does not import torch, so it can also examine an installation whose torch cannot be imported.

examine().works                                             # whether models can be trained on the CPU
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attnrec.doctor.findings import Finding, Report, examined

if TYPE_CHECKING:
    from attnrec.doctor.processes import Process

__all__ = ["COMPILE_SECONDS", "Finding", "Report", "examine"]

COMPILE_SECONDS = 20.0
"""How long torch.compile may take; it runs in parallel with the other trials."""
_HANGS = 120.0  # seconds for each other process; most take a few, but longer on a busy machine


def examine(compile_seconds: float = COMPILE_SECONDS, observe: Callable[[str], None] = lambda name: None) -> Report:
    """Check everything. This takes some seconds, most of them to import torch.

    Args:
        compile_seconds: how long to wait for torch.compile.
        observe: called with the name of each trial that is waited for.
    """
    # imported here, so that other commands start fast
    from attnrec.doctor import folders, machine, trials, versions

    here = {
        versions.GROUP: (versions.installed,),
        machine.GROUP: (machine.hardware,),
        folders.GROUP: (folders.current_folder, folders.caches, folders.data_sets),
    }
    order = (versions.GROUP, machine.GROUP, trials.WORKS, trials.PLUG_INS, folders.GROUP)
    with ExitStack() as stack:
        processes = _started(stack, compile_seconds)
        found = [finding for group, looks in here.items() for look in looks for finding in examined(group, look)]
        for process in processes:
            observe(process.names[-1])
            found += process.findings()
    return Report(tuple(sorted(found, key=lambda finding: order.index(finding.group))))


def _started(stack: ExitStack, compile_seconds: float) -> list[Process]:
    """Processes that run all trials in parallel; closing ``stack`` stops them."""
    from attnrec.doctor.processes import Process

    def started(*names: str, seconds: float = _HANGS, advice: str = "", **environment: str) -> Process:
        return stack.enter_context(Process(names, seconds, advice, **environment))

    # started first because it is the slowest; a single function needs no compile workers
    longer = "`seconds=60` waits longer"
    compiling = started("torch.compile", seconds=compile_seconds, advice=longer, TORCHINDUCTOR_COMPILE_THREADS="1")
    return [
        started("torch", "training", "bf16", "plug-ins", "cuda"),
        started("triton"),
        started("sm_80", TRITON_INTERPRET="0"),
        compiling,
    ]
