"""Runs the contract on an operator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from attnrec.attention import AttentionOperator, OperatorSpec, parse_attention
from attnrec.contract import interface, learning, masking, paths
from attnrec.contract.check import Check
from attnrec.contract.report import Report, Result
from attnrec.contract.subject import Factory, Subject
from attnrec.errors import InputError, nearest

CHECKS: tuple[Check, ...] = (
    masking.shape,  # what the first three find stops others
    masking.finite,
    learning.eval_mode,
    masking.no_future_leak,
    masking.padding,
    masking.zeros_at_padding,
    masking.trimming,
    masking.zero_items,
    masking.batch_independence,
    masking.history,
    learning.gradcheck,
    learning.parameters,
    learning.weights,
    learning.weights_sum,
    learning.weights_output,
    learning.dropout,
    paths.packed,
    paths.implementations,
    interface.dtype,
    interface.autocast,
    interface.device,
    interface.global_state,
    interface.state_dict,
    interface.inputs_kept,
    interface.memory_layout,
    paths.compiled,
    paths.growth,
)


def check_names() -> list[str]:
    """Names of the checks, in order."""
    return [check.name for check in CHECKS]


def check_operator(
    operator: str | OperatorSpec | Callable[..., AttentionOperator],
    *,
    heads: int = 2,
    head_dim: int = 8,
    device: torch.device | str = "cpu",
    only: Sequence[str] | None = None,
    compile_backend: str | None = None,
    observe: Callable[[str], None] | None = None,
) -> Report:
    """Check that an operator keeps the contract (`docs/contract.md`).

    Everything is seeded, and torch's random state is afterwards what it was.

    Args:
        operator: as ``--attention`` takes it, or its class, or a function of ``(num_heads, head_dim, max_len,
            dropout)`` that builds one, such as ``functools.partial(MyAttention, option=3)``.
        heads, head_dim: of the larger cases; the smaller have one head of width 2, where the operator takes that.
        device: where to run.
        only: names of the checks to run; all without it.
        compile_backend: of torch.compile; without it ``inductor``, or ``aot_eager`` where that cannot work.
        observe: called with the name of each check before it runs.

    Raises:
        InputError: an unknown operator, option or check, or the operator cannot run on ``device``.
        ValueError: the constructor refuses ``heads`` and ``head_dim``.
    """
    checks = _chosen(only)
    if isinstance(operator, str):
        operator = parse_attention(operator)
    where = torch.device(device)
    with _random_state_kept(where):
        subject = Subject(Factory(operator), heads, head_dim, where, compile_backend)
        results: list[Result] = []
        for check in checks:
            if observe is not None:
                observe(check.name)
            failed = {result.name for result in results if result.status == "fails"}
            results.append(check.run(subject, failed))
    return Report(str(subject.factory), str(where), str(subject.dtype).removeprefix("torch."), tuple(results))


def _chosen(only: Sequence[str] | None) -> list[Check]:
    if only is None:
        return list(CHECKS)
    wanted = {name.strip().replace("-", " ") for name in only}
    if not wanted:
        raise InputError(f"no check is named; known: {', '.join(check_names())}")
    for name in sorted(wanted):
        if name not in check_names():
            hint = nearest(name, check_names()) or f"; known: {', '.join(check_names())}"
            raise InputError(f"unknown check {name!r}{hint}")
    return [check for check in CHECKS if check.name in wanted]


@contextlib.contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    gpus = torch.cuda.is_initialized() or device.type == "cuda"  # torch.manual_seed seeds them all
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if gpus else []):
        yield
