"""Names of methods for people: `ARRP`, `annealed PCGrad`, `round robin, sum`."""

from __future__ import annotations

_SAMPLERS = {"arrp": "ARRP"}


def title_of(method: str) -> str:
    """The title of `sampler+combiner+freeze-set`; ARRP implies PCGrad, as in its paper (P0)."""
    sampler, _, rest = method.partition("+")
    title = _SAMPLERS.get(sampler, sampler.replace("_", " "))
    for part in filter(None, rest.split("+")):
        if part == "pcgrad":
            title += "" if sampler == "arrp" else " PCGrad"
        elif part.startswith("freeze-"):
            title += f" F={part.removeprefix('freeze-')}"
        else:
            title += f", {part}"
    return title


def question_of(one: str, other: str, ask: str, metric: str) -> str:
    """The question about two methods, for a sweep file that does not word it.

    Args:
        one, other: titles.
    """
    name = "dev score" if metric == "dev_score" else metric
    if ask == "minutes":
        return f"Does {one} reach the {name} of {other} in fewer minutes per epoch?"
    return f"Does {one} have a higher {name} than {other}?"
