"""What the two sides of a pair share: their initial weights, and rows where samplers allow it."""

from __future__ import annotations

import pytest
import torch

from tests.support.small import small_config
from trainer.loop.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Trials of three methods with the same seed, and one with another seed."""
    cache = tmp_path_factory.mktemp("cache")
    seeds = {"arrp": 5, "annealed": 5, "round_robin": 5, "interleaved": 6}
    return {name: Run(small_config(cache, sampler=name, seed=seed)) for name, seed in seeds.items()}


def weights(run: Run) -> torch.Tensor:
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


def test_the_sides_of_a_pair_begin_with_the_same_weights(runs: dict[str, Run]) -> None:
    first = weights(runs["arrp"])
    assert torch.equal(first, weights(runs["annealed"]))
    assert torch.equal(first, weights(runs["round_robin"]))
    assert not torch.equal(first, weights(runs["interleaved"]))


def test_they_see_the_same_rows_where_their_samplers_draw_alike(runs: dict[str, Run]) -> None:
    """ARRP's first phase is an epoch of round robin."""
    arrp, robin = runs["arrp"].plan(1)[0], runs["round_robin"].plan(1)[0]
    assert len(arrp.steps) == len(robin.steps)
    for one, other in zip(arrp.steps, robin.steps, strict=True):
        assert [(draw.task, draw.rows.tolist()) for draw in one] == [
            (draw.task, draw.rows.tolist()) for draw in other
        ]
