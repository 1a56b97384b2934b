"""What works here: versions, machine, and whether training, kernels, compilers and GPUs do what they should.

What can be tried is tried, in processes of their own: a library that crashes or hangs is a finding, not an end. This
process imports no torch, so an installation whose torch cannot be imported is examined, too.

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
"""How long torch.compile may take, which is tried beside the rest."""
_HANGS = 120.0  # seconds; the rest takes a few, and more on a machine that is busy


def examine(compile_seconds: float = COMPILE_SECONDS, observe: Callable[[str], None] = lambda name: None) -> Report:
    """Look at everything; this takes some seconds, most of which importing torch takes.

    Args:
        compile_seconds: how long to wait for torch.compile.
        observe: is told what is waited for.
    """
    # imported here, so that the other commands start as fast as without them
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
    """Processes that try everything, side by side; closing ``stack`` ends them."""
    from attnrec.doctor.processes import Process

    def started(*names: str, seconds: float = _HANGS, advice: str = "", **environment: str) -> Process:
        return stack.enter_context(Process(names, seconds, advice, **environment))

    # the slowest is started first; one function needs no workers of torch's
    longer = "`seconds=60` waits longer"
    compiling = started("torch.compile", seconds=compile_seconds, advice=longer, TORCHINDUCTOR_COMPILE_THREADS="1")
    return [
        started("torch", "training", "bf16", "plug-ins", "cuda"),
        started("triton"),
        started("sm_80", TRITON_INTERPRET="0"),
        compiling,
    ]
