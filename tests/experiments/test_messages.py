"""What passes between a comparison and its workers."""

from __future__ import annotations

import math

import pytest

from attnrec.experiments.compare import Comparison
from attnrec.experiments.messages import Ended, Progress, Task, as_line, read_message, read_task


@pytest.mark.parametrize(
    "message", [Progress(3, 0.5, 1.25, 0.125, 0.0), Ended("finished", "test NDCG@10 0.1"), Ended("interrupted")]
)
def test_messages_arrive_as_they_were_sent(message: Progress | Ended) -> None:
    line = as_line(message)
    assert "\n" not in line
    assert read_message(line + "\n") == message


def test_a_loss_that_is_not_finite_arrives() -> None:
    found = read_message(as_line(Progress(1, 0.5, math.nan, math.inf, 0.0)))
    assert isinstance(found, Progress)
    assert math.isnan(found.loss)


def test_a_task_arrives(finished: Comparison) -> None:
    task = Task(finished.run_config("sdpa", 4).to_mapping(), trust_code=True)
    again = read_task(as_line(task))
    assert finished.config.from_mapping(dict(again.options)) == finished.run_config("sdpa", 4)
    assert again.trust_code


@pytest.mark.parametrize(
    "line",
    ["", "hello", "{'a': 1}", "{}", "[]", "3", '{"event": "progress"}', '{"event": ["finished"]}', "[" * 100_000],
)
def test_what_a_variant_prints_is_no_message(line: str) -> None:
    assert read_message(line) is None
