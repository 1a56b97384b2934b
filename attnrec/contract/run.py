"""Runs the contract on an operator, a mixer or a model."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from attnrec.attention import ATTENTION, AttentionOperator
from attnrec.contract import interface, learning, masking, mixers, mixing, paths, scoring
from attnrec.contract.checking import Check
from attnrec.contract.factory import Factory, takes
from attnrec.contract.kinds import Kind, kind_of
from attnrec.contract.mixers import MixerSubject
from attnrec.contract.models import ModelSubject
from attnrec.contract.operators import OperatorSubject
from attnrec.contract.report import Report, Result
from attnrec.contract.subject import Subject
from attnrec.core.arguments import listed, refuse, text, whole_number
from attnrec.core.devices import given_device
from attnrec.core.errors import InputError, nearest
from attnrec.core.spec import Spec
from attnrec.mixers import AttentionMixer, Mixer
from attnrec.models.base import SequentialModel
from attnrec.models.build import MODELS
from attnrec.models.options import ModelOptions

_SURROUNDINGS: tuple[Check, ...] = (
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

_OF_OPERATORS: tuple[Check, ...] = (
    masking.shape,  # first, because many checks mean nothing after a failure of one of these three
    masking.finite,
    learning.eval_mode,
    masking.no_future_leak,
    masking.padding,
    masking.zeros_at_padding,
    masking.trimming,
    masking.zero_items,
    masking.batch_independence,
    mixing.history,
    mixing.values,
    learning.gradcheck,
    learning.parameters,
    learning.weights,
    learning.weights_sum,
    learning.weights_output,
    learning.dropout,
    paths.packed,
    paths.implementations,
    *_SURROUNDINGS,
)


_OF_MIXERS: tuple[Check, ...] = (
    mixers.shape,
    masking.finite,
    learning.eval_mode,
    masking.no_future_leak,
    masking.batch_independence,
    mixers.other_lengths,
    mixers.groups,
    mixing.history,
    learning.gradcheck,
    learning.parameters,
    mixers.weights,
    learning.dropout,
    paths.implementations,
    *_SURROUNDINGS,
)

_OF_MODELS: tuple[Check, ...] = (
    scoring.shape,
    masking.finite,
    learning.eval_mode,
    masking.no_future_leak,
    masking.batch_independence,
    mixers.other_lengths,
    scoring.history,
    scoring.padding_row,
    learning.gradcheck,
    learning.parameters,
    scoring.attention_weights,
    scoring.auxiliary_loss,
    learning.dropout,
    interface.autocast,
    interface.device,
    interface.global_state,
    interface.state_dict,
    interface.inputs_kept,
)

CHECKS: dict[Kind, tuple[Check, ...]] = {"operator": _OF_OPERATORS, "mixer": _OF_MIXERS, "model": _OF_MODELS}


def check_names(kind: Kind = "operator") -> list[str]:
    """Names of the checks for a kind of component, in order."""
    return [check.name for check in CHECKS[kind]]


def check(component: str | Spec | Callable[..., Any], **how: Any) -> Report:
    """Check an operator, a mixer or a model; the name or class says which kind it is.

    Args:
        component: as ``attention`` or ``model`` of a training, or a class; a function is assumed to build an operator.
        how: keyword arguments of `check_operator`, `check_mixer` or `check_model`.

    Raises:
        InputError: an unknown component, option or check, or the component cannot run on the device.
        ValueError: the constructor refuses the sizes.
    """
    if isinstance(component, str):
        component = Spec.parse(component)
    checks: dict[Kind, Callable[..., Report]] = {
        "operator": check_operator,
        "mixer": check_mixer,
        "model": check_model,
    }
    return checks[kind_of(component)](component, **how)


def check_operator(
    operator: str | Spec | Callable[..., AttentionOperator],
    *,
    heads: int = 2,
    head_dim: int = 8,
    device: torch.device | str = "cpu",
    only: Sequence[str] | None = None,
    compile_backend: str | None = None,
    observe: Callable[[str], None] | None = None,
) -> Report:
    """Check that an operator keeps the contract (`docs/contract.md`).

    Everything is seeded, and torch's random state is restored afterwards.

    Args:
        operator: as ``attention`` of a training, or its class, or a function of ``(num_heads, head_dim, max_len,
            dropout)`` that builds one, such as ``functools.partial(MyAttention, option=3)``.
        heads, head_dim: sizes of the larger cases; the smaller ones have one head of width 2, if the operator takes it.
        device: where to run.
        only: names of the checks to run; None runs all.
        compile_backend: for torch.compile; by default ``inductor``, or ``aot_eager`` if inductor cannot work here.
        observe: called with the name of each check before it runs.

    Raises:
        InputError: an unknown operator, option or check, or the operator cannot run on ``device``.
        ValueError: the constructor refuses ``heads`` and ``head_dim``.
    """

    def subject(place: torch.device) -> Subject:
        return OperatorSubject(
            Factory(_parsed("operator", operator), ATTENTION), *_sizes(heads, head_dim), place, compile_backend
        )

    return _report("operator", subject, device, only, observe)


def check_mixer(
    mixer: str | Spec | Callable[..., Mixer],
    *,
    heads: int = 2,
    head_dim: int = 8,
    device: torch.device | str = "cpu",
    only: Sequence[str] | None = None,
    compile_backend: str | None = None,
    observe: Callable[[str], None] | None = None,
) -> Report:
    """Check that a mixer keeps the contract, like `check_operator`.

    Args:
        mixer: as ``attention`` of a training, or its class, or a function of a ``MixerShape`` that builds one. The
            name of an operator means that operator between the trunk's projections.
        heads, head_dim: sizes of the larger cases, whose rows are as wide as all heads together; the smaller ones have
            rows of width 4 and one head, if the mixer takes that.
        device, only, compile_backend, observe: as in `check_operator`.

    Raises:
        InputError: an unknown mixer, option or check, or the mixer cannot run on ``device``.
        ValueError: the constructor refuses the shape.
    """

    def subject(place: torch.device) -> Subject:
        return MixerSubject(_mixer(_parsed("mixer", mixer)), *_sizes(heads, head_dim), place, compile_backend)

    return _report("mixer", subject, device, only, observe)


def check_model(
    model: str | Spec | Callable[..., SequentialModel],
    options: ModelOptions | None = None,
    *,
    heads: int = 2,
    head_dim: int = 8,
    device: torch.device | str = "cpu",
    only: Sequence[str] | None = None,
    observe: Callable[[str], None] | None = None,
) -> Report:
    """Check that a model keeps the contract, like `check_operator`.

    Args:
        model: as ``model`` of a training, or its class, or a function of ``(catalogue, config)`` that builds one.
        options: the shared model options, such as ``ModelOptions(norm="pre")``; the cases set sizes and dropout.
        heads, head_dim: sizes of the larger cases, whose ``dim`` is their product; the smaller ones have ``dim`` 4 and
            one head.
        device, only, observe: as in `check_operator`.

    Raises:
        InputError: an unknown model, option or check, or the model cannot run on ``device``.
        ValueError: the constructor refuses the sizes.
    """

    def subject(place: torch.device) -> Subject:
        return ModelSubject(
            options or ModelOptions(), Factory(_parsed("model", model), MODELS), *_sizes(heads, head_dim), place
        )

    return _report("model", subject, device, only, observe)


def _sizes(heads: int, head_dim: int) -> tuple[int, int]:
    return whole_number("heads", heads, 1), whole_number("head_dim", head_dim, 1)


_CALLED_WITH: dict[Kind, tuple[str, ...]] = {
    "operator": ("num_heads", "head_dim", "max_len", "dropout"),
    "mixer": ("shape",),
    "model": ("catalogue", "config"),
}


def _parsed(kind: Kind, component: Any) -> Any:
    """A specification from a text; a class or function unchanged; InputError for anything else."""
    if isinstance(component, str):
        return Spec.parse(component)
    arguments = _CALLED_WITH[kind]
    if not isinstance(component, Spec) and not (callable(component) and takes(component, len(arguments))):
        a = "an" if kind == "operator" else "a"
        refuse(kind, f"the name of {a} {kind}, its class or a function of ({', '.join(arguments)})", component)
    return component


def _mixer(source: Any) -> Factory:
    """Builds a mixer; an operator gets projections around it."""
    if isinstance(source, Spec) and issubclass(ATTENTION.find(source.name), AttentionOperator):
        return Factory(functools.partial(AttentionMixer, operator=source), ATTENTION, str(source))
    return Factory(source, ATTENTION)


def _report(
    kind: Kind,
    make: Callable[[torch.device], Subject],
    device: torch.device | str,
    only: Sequence[str] | None,
    observe: Callable[[str], None] | None,
) -> Report:
    checks = _chosen(kind, only)
    where = given_device(device)
    with _random_state_kept(where):
        subject = make(where)
        results: list[Result] = []
        for check in checks:
            if observe is not None:
                observe(check.name)
            failed = {result.name for result in results if result.status == "fails"}
            results.append(check.run(subject, failed))
    dtype = str(subject.dtype).removeprefix("torch.")
    return Report(kind, str(subject.factory), str(where), dtype, tuple(results))


def _chosen(kind: Kind, only: Sequence[str] | None) -> list[Check]:
    if only is None:
        return list(CHECKS[kind])
    known = check_names(kind)
    wanted = {text("a name in only", name).strip().replace("-", " ") for name in listed("only", only, "names")}
    if not wanted:
        raise InputError(f"no check is named; known: {', '.join(known)}")
    for name in sorted(wanted):
        if name not in known:
            hint = nearest(name, known) or f"; known: {', '.join(known)}"
            raise InputError(f"unknown check {name!r}{hint}")
    return [check for check in CHECKS[kind] if check.name in wanted]


@contextlib.contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    gpus = torch.cuda.is_initialized() or device.type == "cuda"  # torch.manual_seed seeds them all
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if gpus else []):
        yield
