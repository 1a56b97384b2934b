"""An attention operator under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from attnrec.attention import AttentionOperator, Component, Packing, build_attention
from attnrec.contract.batches import FEATURES, INPUTS, Batch
from attnrec.contract.cases import Case
from attnrec.contract.comparing import require_shape
from attnrec.contract.subject import Place, Subject, as_is
from attnrec.core.spec import Spec


class OperatorSubject(Subject):
    """Queries, keys and values [B, H, T, D] to [B, H, T, Dv]."""

    noun = "operator"
    arguments = ("q", "k", "v", "ctx")

    def example(self, case: Case) -> Component:
        source = self.factory.source
        if isinstance(source, Spec):
            return build_attention(source, case.heads, case.dim, case.max_len, 0.0, FEATURES.sizes)
        return self.made(case, 0.0, None)

    def made(self, case: Case, dropout: float, impl: str | None) -> AttentionOperator:
        further = {"features": FEATURES.sizes} if self.factory.declared("needs_features", False) else {}
        built: AttentionOperator = self.factory(case.heads, case.dim, case.max_len, dropout, impl=impl, **further)
        return built

    @property
    def takes_any_value_width(self) -> bool:
        return bool(getattr(self.components[0], "takes_any_value_width", False))

    def floats(self, case: Case) -> dict[str, tuple[int, int]]:
        wide = case.heads, case.value_dim or case.dim
        floats = {"q": (case.heads, case.dim), "k": (case.heads, case.dim), "v": wide}
        return floats | ({INPUTS: (1, case.heads * case.dim)} if self.needs(INPUTS) else {})

    def given(self, batch: Batch, place: Place = as_is) -> tuple[Any, ...]:
        batch = batch.mapped(place)
        return batch.floats["q"], batch.floats["k"], batch.floats["v"], batch.context

    def out_shape(self, batch: Batch) -> tuple[int, ...]:
        return tuple(batch.floats["v"].shape)

    def result(self, component: Component, out: Any, batch: Batch) -> Tensor:
        return require_shape(out, self.out_shape(batch))

    def large(self, batch: Batch) -> Batch:
        return batch.with_floats(q=batch.floats["q"] * 100, k=batch.floats["k"] * 100)

    def must_drop(self, component: Component) -> bool:
        return bool(component.has_weights)

    def ways(self, component: Component, case: Case, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        assert isinstance(component, AttentionOperator)

        def run_packed() -> Tensor:
            (q, k, v), packing = self.packed(component, case, batch.mapped(Tensor.clone))
            return component.forward_packed(q, k, v, packing).detach()

        return {**super().ways(component, case, batch), "forward_packed": run_packed}

    def packed(
        self, operator: AttentionOperator, case: Case, batch: Batch, groups: int = 1
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Packing]:
        """Queries, keys and values without padding, [N, H, D] each, and their layout as the operator sees it."""
        packing = batch.packing(case.max_len, groups)
        rows = {name: batch.packed(x.transpose(1, 2)) for name, x in batch.floats.items()}
        inputs = rows.get(INPUTS, rows["v"]).flatten(1)
        return (rows["q"], rows["k"], rows["v"]), packing.seen_by(operator, inputs)
