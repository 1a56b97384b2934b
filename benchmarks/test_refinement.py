"""What attention weight refinement costs: training steps next to `sdpa`, and the memory kept for the backward pass.

    pytest benchmarks/test_refinement.py --benchmark-sort=name

Compare ratios within one run: absolute times depend on the machine and its other load.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from attnrec.attention import SequenceContext, build_attention
from attnrec.core.measuring import kept_for_backward
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory
from benchmarks.conftest import load

VARIANTS = ("sdpa", "awr:refinement=simple", "awr:refinement=value", "awr:refinement=additive")


@pytest.mark.parametrize("attention", VARIANTS)
@pytest.mark.parametrize(("dataset", "max_len"), [("ml-1m", 200), ("games", 50), ("synthetic", 50)])
def test_training_step(benchmark: BenchmarkFixture, tmp_path: Path, dataset: str, max_len: int, attention: str) -> None:
    """Steps of a training with d = 50, 2 blocks, batch 128; all variants get the same batches."""
    config = TrainConfig.of(max_len=max_len, attention=attention)
    trainer = Trainer(config, RunDirectory(tmp_path), load(dataset), Observer())
    trainer.model.train()
    batches = cycle(list(trainer.batches.epoch(1))[:12])
    benchmark.group = f"training step, {dataset}"
    loss, norm = benchmark.pedantic(lambda: trainer.step(next(batches)), rounds=36, warmup_rounds=4).tolist()
    assert loss > 0
    assert norm > 0


@pytest.mark.parametrize("impl", ["torch", "reference"])
@pytest.mark.parametrize("n", [1024, 4096])
def test_memory_kept_for_backward(benchmark: BenchmarkFixture, n: int, impl: str) -> None:
    """One sequence, d = m = 64, one head, float32, forward and backward; ``saved_MB`` is what autograd keeps."""
    operator = build_attention(f"awr:refinement=value,width=64,impl={impl}", 1, 64, n, 0.0)
    q, k, v = (torch.randn(1, 1, n, 64, requires_grad=True) for _ in range(3))
    ctx = SequenceContext(torch.tensor([n]), n)
    kept = kept_for_backward(lambda: operator(q, k, v, ctx))
    benchmark.extra_info["saved_MB"] = round(kept / 1e6, 1)
    benchmark.group = f"forward and backward, n = {n}"
    benchmark.pedantic(lambda: operator(q, k, v, ctx).sum().backward(), rounds=3, warmup_rounds=1)
    assert q.grad is not None
    assert q.grad.isfinite().all()
