"""What works here: versions, machine, and whether training, kernels, compilers and GPUs do what they should.

What can be tried is tried, in processes of their own: a library that crashes or hangs is a finding, not an end. This
process imports no torch, so an installation whose torch cannot be imported is examined, too.

examine().works                                             # whether models can be trained on the CPU
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from attnrec.doctor.findings import Finding, Report, examined
from attnrec.doctor.folders import GROUP as FOLDERS
from attnrec.doctor.folders import caches, current_folder, data_sets
from attnrec.doctor.machine import GROUP as MACHINE
from attnrec.doctor.machine import hardware
from attnrec.doctor.processes import Process
from attnrec.doctor.trials import PLUG_INS, WORKS
from attnrec.doctor.versions import GROUP as VERSIONS
from attnrec.doctor.versions import installed

__all__ = ["COMPILE_SECONDS", "Finding", "Report", "examine"]

COMPILE_SECONDS = 20.0
"""How long torch.compile may take, which is tried beside the rest."""
_HANGS = 60.0  # seconds; the rest takes a few
_HERE = {
    VERSIONS: (installed,),
    MACHINE: (hardware,),
    FOLDERS: (current_folder, caches, data_sets),
}
_GROUPS = (VERSIONS, MACHINE, WORKS, PLUG_INS, FOLDERS)


def examine(compile_seconds: float = COMPILE_SECONDS, observe: Callable[[str], None] = lambda name: None) -> Report:
    """Look at everything; this takes some seconds, most of which importing torch takes.

    Args:
        compile_seconds: how long to wait for torch.compile.
        observe: is told what is waited for.
    """
    with ExitStack() as stack:

        def started(*names: str, seconds: float = _HANGS, advice: str = "", **environment: str) -> Process:
            return stack.enter_context(Process(names, seconds, advice, **environment))

        # the slowest is started first; one function needs no workers of torch's
        longer = "--seconds 60 waits longer"
        compiling = started("torch.compile", seconds=compile_seconds, advice=longer, TORCHINDUCTOR_COMPILE_THREADS="1")
        processes = [
            started("torch", "training", "bf16", "plug-ins", "cuda"),
            started("triton"),
            started("sm_80", TRITON_INTERPRET="0"),
            compiling,
        ]
        found = [finding for group, looks in _HERE.items() for look in looks for finding in examined(group, look)]
        for process in processes:
            observe(process.names[-1])
            found += process.findings()
    return Report(tuple(sorted(found, key=lambda finding: _GROUPS.index(finding.group))))
