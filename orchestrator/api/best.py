"""The best configuration of a sweep in Python."""

from __future__ import annotations

from orchestrator.api import html
from orchestrator.export import best as export


class Best(export.Best):
    """The configuration with the best mean `dev_score` over its seeds; a notebook shows it."""

    def _repr_html_(self) -> str:
        rows = [
            [str(each.seed), each.trial_id, each.stage, f"{each.dev_score:.4f}", _minutes(each)]
            for each in self.seeds
        ]
        spread = "" if self.sd is None else f" ± {self.sd:.4f}"
        tasks = ", ".join(f"{name} {value:.4f}" for name, value in self.tasks.items())
        return html.page(
            html.text(f"{self.configuration}: dev score {self.dev_score:.4f}{spread}"),
            html.text(tasks),
            html.table(["seed", "trial", "stage", "dev score", "min/epoch"], rows, left=(1, 2)),
            html.code("\n".join(self.commands().values())),
        )


def _minutes(seed: export.Seed) -> str:
    return "" if seed.minutes_per_epoch is None else f"{seed.minutes_per_epoch:.3f}"
