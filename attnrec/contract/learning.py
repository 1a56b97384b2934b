"""Checks of gradients, weights, eval mode and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attnrec.attention import AttentionOperator, Component, SequenceContext
from attnrec.contract.batches import Batch
from attnrec.contract.cases import EMPTY, MAX_LEN, PADDED, UNPADDED, Case, Layout
from attnrec.contract.checking import check
from attnrec.contract.comparing import largest, pull_back, require_finite
from attnrec.contract.faults import Fault, NotRun
from attnrec.contract.subject import Subject, padding_rows

_DROPOUT = 0.5
_STEP = 1e-6  # of difference quotients: truncation ~ step^2 and rounding ~ 1e-16 / step are both far below 1e-6


@check("gradcheck", "a .detach() or .data cuts the graph, a custom backward is wrong, or a part is computed in float32")
def gradcheck(subject: Subject) -> str:
    if subject.dtype != torch.float64:
        raise NotRun(f"the {subject.noun} does not compute in float64")
    subject.require_same_twice()
    worst, tensors = 0.0, 0
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3), 3), Layout((0, 2), 3))):
        component, batch = subject.build(case), subject.batch(case)
        cotangent = subject.cotangent(batch)
        _, gradients = subject.gradients(component, batch, cotangent)
        held = {**dict(component.named_parameters()), **batch.floats}

        def loss(component: Component = component, batch: Batch = batch, by: Tensor = cotangent) -> float:
            return float((subject.output(component, batch) * by).sum())

        for name, gradient in gradients.items():
            # changes the tensor in place, which is safe because `output` copies its inputs
            left_out = padding_rows(component).get(name)
            worst = max(worst, _against_quotients(subject, loss, name, held[name], gradient, left_out))
            tensors += 1
    return f"{tensors} tensors to {worst:.2g}"


def _against_quotients(
    subject: Subject, loss: Callable[[], float], name: str, tensor: Tensor, gradient: Tensor, left_out: int | None
) -> float:
    """Largest deviation of the gradient relative to max(1, its size), over some entries, without row ``left_out``."""
    flat, slopes = tensor.detach().view(-1), gradient.reshape(-1)
    draws = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[: subject.entries // 2].tolist()
    steepest = slopes.abs().topk(min(len(flat), subject.entries // 2)).indices.tolist()
    worst = 0.0
    for place in sorted({*draws, *steepest}):
        if left_out is not None and place // tensor[0].numel() == left_out:
            continue
        start = float(flat[place])
        ends = []
        for step in (_STEP, -_STEP):
            flat[place] = start + step
            ends.append(loss())
        flat[place] = start
        quotient, slope = (ends[0] - ends[1]) / (2 * _STEP), float(slopes[place])
        found = abs(quotient - slope) / max(1.0, abs(quotient))
        text = f"the gradient w.r.t. {name} is {slope:.3g}, but the difference quotient is {quotient:.3g}"
        worst = max(worst, subject.judge(found, 1e-6, text))
    return worst


@check("parameters", "a parameter is not used in forward, or only behind a .detach()")
def parameters(subject: Subject) -> str:
    names: list[str] = []
    for case in subject.full(Layout((MAX_LEN, 7), MAX_LEN)):
        component, batch = subject.build(case), subject.batch(case)
        _, gradients = subject.gradients(component, batch, subject.cotangent(batch))
        names = [name for name in gradients if name not in batch.floats]
        scale = max(1.0, largest(gradients[name] for name in batch.floats))
        # a whole layer may have parameters without effect, such as a bias of keys, which softmax ignores
        least = 1e-3 * subject.tolerance(case) * scale if subject.noun == "operator" else 0.0
        idle = [name for name in names if not float(gradients[name].abs().max()) > least]
        if idle:
            idle = [name for name, gradient in _by_own_loss(subject, case, idle).items() if not largest([gradient]) > 0]
        if idle:
            raise Fault(f"no gradient for {', '.join(idle)}")
    return f"{len(names)} of {len(names)} have a gradient" if names else "none"


def _by_own_loss(subject: Subject, case: Case, names: list[str]) -> dict[str, Tensor]:
    """Gradients of the component's own loss w.r.t. the named parameters."""
    component = subject.build(case, training=True)
    parameters = dict(component.named_parameters())
    loss = subject.own_loss(component, subject.batch(case))
    if loss is None:
        return {name: torch.zeros_like(parameters[name]) for name in names}
    return dict(zip(names, pull_back(loss, torch.ones_like(loss), [parameters[name] for name in names]), strict=True))


# -- weights -------------------------------------------------------------------------------------------


def _queries_and_keys(batch: Batch) -> tuple[Tensor, Tensor, SequenceContext]:
    return batch.floats["q"].clone(), batch.floats["k"].clone(), batch.context


def _operator(subject: Subject, case: Case, **how: Any) -> AttentionOperator:
    built = subject.build(case, **how)
    assert isinstance(built, AttentionOperator)
    return built


def _weights(operator: AttentionOperator, batch: Batch) -> Tensor:
    try:
        with torch.no_grad():
            found = operator.weights(*_queries_and_keys(batch))
    except NotImplementedError as error:
        raise Fault(str(error), "define weights(q, k, ctx), or set has_weights = False") from error
    wanted = [*batch.floats["q"].shape[:3], batch.ctx.width]
    if list(found.shape) != wanted:
        raise Fault(f"weights are {list(found.shape)}, not {wanted}")
    return require_finite(found, "the weights matrix")


def _require(subject: Subject, attribute: str) -> None:
    case = next(subject.ladder(UNPADDED[:1]))
    subject.case = None
    for name in ("has_weights", attribute):
        if not getattr(subject.build(case), name):
            raise NotRun(f"the operator declares {name} = False")


@check("weights", "weights must be [B, H, T, T], 0 outside ctx.mask(), and without dropout even in training")
def weights(subject: Subject) -> str:
    _require(subject, "has_weights")
    for case in subject.ladder(UNPADDED + PADDED + EMPTY):
        batch = subject.batch(case, filled=True)
        found = _weights(_operator(subject, case), batch)
        outside = largest([found * ~batch.ctx.mask()]) / max(1.0, largest([found]))
        subject.nothing(outside, case, "a weight of {} on a later item or on padding")
        trained = _weights(_operator(subject, case, dropout=_DROPOUT, training=True), batch)
        subject.agree(trained, found, case, "in training with dropout weights differ by {}")
        for name, matrix in _operator(subject, case).named_weights(*_queries_and_keys(batch)).items():
            if matrix.shape != found.shape:
                raise Fault(f"{name} of named_weights has shape {list(matrix.shape)}, not {list(found.shape)}")
    return "0 outside the mask"


@check("weights sum", "normalise each item's row to sum to 1, or declare weights_sum_to_one = False")
def weights_sum(subject: Subject) -> str:
    _require(subject, "weights_sum_to_one")
    worst = 0.0
    for case in subject.ladder((Layout((1,), 1), *UNPADDED, *PADDED)):
        batch = subject.batch(case)
        total = _weights(_operator(subject, case), batch).sum(-1, keepdim=True)
        real = batch.real.expand_as(total)
        off = torch.where(real, (total - 1).abs(), 0.0)
        place = int(off.argmax())
        text = f"a row sums to {float(total.flatten()[place]):.3g}, not 1"
        worst = max(worst, subject.agree(torch.where(real, total, 1.0), torch.ones_like(total), case, text))
    return f"1 to {worst:.2g}"


@check("weights output", "make the output weights(q, k, ctx) @ v, or declare weights_give_output = False")
def weights_output(subject: Subject) -> str:
    _require(subject, "weights_give_output")
    worst = 0.0
    for case in subject.ladder((Layout((1,), 1), *UNPADDED, *PADDED), long=True):
        batch, operator = subject.batch(case), _operator(subject, case)
        product = _weights(operator, batch) @ batch.floats["v"]
        out = subject.output(operator, batch)
        worst = max(worst, subject.agree(product, out, case, "weights @ v differs from the output by {}"))
    return f"moves by {worst:.2g}"


# -- modes ---------------------------------------------------------------------------------------------


@check("eval mode", "apply dropout and noise only if self.training is true, and keep nothing between calls")
def eval_mode(subject: Subject) -> str:
    for dropout in (0.0, _DROPOUT):
        for case in subject.ladder((Layout((2,), 2), *PADDED[-1:])):
            component, batch = subject.build(case, dropout=dropout), subject.batch(case)
            first, second = subject.output(component, batch), subject.output(component, batch)
            found = subject.difference(second, first)
            subject.random |= dropout == 0.0 and found > subject.tolerance(case)
            subject.judge(found, subject.tolerance(case), f"two calls differ by {{}} with dropout={dropout:g}")
            plain = subject.output(subject.build(case), batch)
            text = f"dropout={dropout:g} moves outputs of eval mode by {{}}"
            subject.agree(first, plain, case, text)
    return "the same twice"


@check(
    "dropout",
    "apply F.dropout(weights, self.dropout, self.training), and draw from torch's own generator",
)
def dropout(subject: Subject) -> str:
    subject.require_same_twice()
    acts = False
    for case in subject.ladder((UNPADDED[1], PADDED[-1])):
        batch = subject.batch(case)
        _without_dropout_as_eval(subject, case, batch)
        component = subject.build(case, dropout=_DROPOUT, training=True)
        for name, call in subject.ways(component, case, batch).items():
            one, other = _drawn(call, (range(8), range(8, 16)))
            drawn = subject.difference(one, other) > subject.tolerance(case)
            acts |= drawn
            if not drawn and subject.must_drop(component):
                raise Fault(f"{name} with dropout={_DROPOUT:g} gives the same output in training with every seed")
            again, _ = _drawn(call, (range(8), range(8, 16)))
            if subject.difference(again, one) > subject.tolerance(case):
                raise Fault(
                    f"{name} draws differently after the same torch.manual_seed",
                    "draw from torch's own generator; otherwise a resumed training cannot repeat the draws",
                )
    if not acts:
        return "none: no weights to drop" if subject.option == "attention" else "none"
    kept = _mean_of_ones(subject)
    return "random in training" + ("" if kept is None else f", sum kept {kept:.2f}")


def _without_dropout_as_eval(subject: Subject, case: Case, batch: Batch) -> None:
    cotangent = subject.cotangent(batch)
    results = []
    for training in (False, True):
        out, gradients = subject.gradients(subject.build(case, training=training), batch, cotangent)
        results.append({"the output": out} | {f"the gradient w.r.t. {name}": g for name, g in gradients.items()})
    for name, wanted in results[0].items():
        subject.agree(results[1][name], wanted, case, f"with dropout=0 {name} moves by {{}} in training")


def _drawn(call: Callable[[], Tensor], seeds: tuple[range, range]) -> tuple[Tensor, Tensor]:
    """Outputs for two sets of seeds; several seeds each, because a single draw may drop nothing."""
    found = []
    for some in seeds:
        outputs = []
        for seed in some:
            torch.manual_seed(seed)
            outputs.append(call())
        found.append(torch.stack(outputs))
    return found[0], found[1]


def _mean_of_ones(subject: Subject) -> float | None:
    """Mean output for values of one with dropout, divided by that without: 1 if the kept weights are rescaled.

    Only for operators whose weights sum to one and give the output. The bounds leave room for outputs that are
    not linear in the dropped weights; without the factor 1 / (1 - p) the ratio is 0.5.
    """
    (case,) = subject.full(Layout((8,) * 64, 8))
    operator = subject.build(case, dropout=_DROPOUT, training=True)
    if not isinstance(operator, AttentionOperator):
        return None
    if not (operator.has_weights and operator.weights_sum_to_one and operator.weights_give_output):
        return None
    batch = subject.batch(case)
    ones = batch.with_floats(v=torch.ones_like(batch.floats["v"]))
    torch.manual_seed(0)
    mean = float(torch.stack([subject.output(operator, ones).double().mean() for _ in range(8)]).mean())
    mean /= float(subject.output(operator.eval(), ones).double().mean())
    if not 0.7 < mean < 1.4:
        text = f"dropout keeps {mean:.2f} of the weights' sum on average, not 1"
        raise Fault(text, "divide by 1 - p, as F.dropout does")
    return mean
