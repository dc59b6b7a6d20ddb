"""The papers' figures of one trial: confusion, similarity, bias, worst errors, its curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes

from orchestrator.compare.diagnostics.conflicts import Row
from orchestrator.compare.output.tables import TableData
from orchestrator.report import style
from orchestrator.report.errors import TaskErrors, TrialErrors
from orchestrator.report.figure import Figure
from orchestrator.report.parts import Figures, Heading, Missing, Part, Table, Text
from trainer.config.tasks import Task
from trainer.loop.error_analysis import distance_edges, most_confused

#: A confusion matrix of more classes has no numbers in its cells.
_MOST_WRITTEN = 10
_SHOWN_ERRORS = 10
#: Characters of a class's name at an axis.
_LONGEST_NAME = 20
_CLASS_NAMES = {
    "sst": ("negative", "somewhat neg.", "neutral", "somewhat pos.", "positive"),
    "cfimdb": ("negative", "positive"),
    "qqp": ("different", "paraphrase"),
}


def parts(errors: TrialErrors, label: str) -> Iterable[Part]:
    """One trial's part of the report; `label` names its configuration."""
    trial = errors.trial
    yield Heading(trial.trial_id, f"trial-{trial.trial_id}")
    last = trial.records[trial.epoch - 1] if trial.records else None
    score = f", dev_score {last['dev_score']:.4f} after epoch {last['epoch']}" if last else ""
    yield Text(f"{label}, seed {trial.config['seed']}, {trial.status}{score}.")
    if len(trial.records) == 1:
        yield Missing("One epoch: its learning curves are points.")
    if errors.problem:
        yield Missing(f"No figure of its predictions: {errors.problem}.")
    by_task = {each.task.name: each for each in errors.tasks}
    for task in trial.config["tasks"]:
        figures = []
        if last and "dev_metric" in last["tasks"].get(task, {}):
            figures.append(_curve(trial.trial_id, trial.records, task))
        if task in by_task:
            figures += _figures(trial.trial_id, by_task[task])
        if figures:
            yield Figures(figures)
        if task in by_task:
            yield from _confused(by_task[task])
            yield from _worst(by_task[task])


def _names(task: Task) -> Sequence[str]:
    """The names of a task's classes: those of its declaration, else ours, else numbers."""
    ours = _CLASS_NAMES.get(task.name, ())
    return ours if not task.labels and len(ours) == task.label_classes else task.class_names


def _ticked(number: int, name: str) -> str:
    """A class at an axis: its number, and its name if that is another one, cut where it is long."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return short if name == str(number) else f"{number}  {short}"


def _class_of(task: Task, value: float) -> str:
    """A label or a prediction for people: the class's name, or the number with two digits."""
    names = _names(task)
    if not task.integer_labels:
        return f"{value:.2f}"
    known = value.is_integer() and 0 <= value < len(names)
    return names[int(value)] if known else f"{value:g}"


def _confused(each: TaskErrors) -> Iterable[Part]:
    """The most frequent confusions of many classes, whose matrix has no numbers."""
    if not each.task.integer_labels or each.classes <= _MOST_WRITTEN:
        return
    most = most_confused(each.confusion(), _names(each.task), _SHOWN_ERRORS)
    data = TableData(["true", "predicted", "examples"])
    for pair in most:
        data.add(pair["true"], pair["predicted"], str(pair["examples"]))
    if most:
        yield Table(f"{each.task.name}: the {len(most)} most frequent confusions.", data)


def _curve(trial_id: str, records: Sequence[Row], task: str) -> Figure:
    """Training and dev metric by epoch; the gap between them is what was memorised."""
    ends = []
    name = records[-1]["tasks"][task].get("metric", "metric")
    with style.axes(2.6) as (canvas, axes):
        for (key, shown), look in zip(
            (("train_metric", "training batches"), ("dev_metric", "dev set")),
            style.looks(("train", "dev")).values(),
            strict=True,
        ):
            points = [
                (record["epoch"], value)
                for record in records
                if (value := record["tasks"].get(task, {}).get(key)) is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), label=shown, **look.line_options())
                ends.append(f"{shown} {points[-1][1]:.4f}")
        style.label_whole(axes, "epoch")
        axes.set_ylabel(f"{task} {name}")
    return Figure(
        f"{trial_id}-{task}-epochs",
        f"{task}: training and dev {name}",
        f"{task} {name} by epoch, last: {', '.join(ends)}.",
        "Training batches were scored as they were seen, with dropout on. Where the two curves "
        "separate, the model memorises its training set.",
        canvas,
    )


def _figures(trial_id: str, each: TaskErrors) -> Iterable[Figure]:
    if each.task.integer_labels:
        yield _confusion(trial_id, each)
    else:
        yield _scatter(trial_id, each)
    if sum(each.bias()):
        yield _bias(trial_id, each)


def _confusion(trial_id: str, each: TaskErrors) -> Figure:
    """Rows that sum to 1, beside the shares of the labels (P0, Figures 2 and 3)."""
    counts, name = each.confusion(), each.task.name
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    classes = [_ticked(n, text) for n, text in enumerate(_names(each.task))]
    label_share = each.label_share
    source = "training set"
    if label_share is None:
        label_share, source = (totals[:, 0] / max(1, totals.sum())).tolist(), "dev set"
    with style.styled():
        canvas = style.canvas(1.3 + min(3.4, 0.45 * each.classes + 0.4))
        matrix, bars = canvas.subplots(1, 2, width_ratios=(3, 1.3))
        _matrix(matrix, shares, classes)
        places = np.arange(each.classes)
        bars.barh(places, [100 * s for s in label_share], color=style.PALETTE[0], height=0.6)
        bars.set_ylim(matrix.get_ylim())
        bars.set_yticks([])
        bars.grid(False, axis="y")
        bars.set_xlabel(f"% of labels,\n{source}")
        matrix.set_ylabel("true label")
        matrix.set_xlabel("predicted label")
    texts = "; ".join(
        f"{label}: {int(totals[n, 0])} examples, {shares[n, n]:.0%} right, "
        f"{share:.0%} of the {source}"
        for n, (label, share) in enumerate(zip(classes, label_share, strict=True))
    )
    if each.classes > _MOST_WRITTEN:
        right = np.trace(counts) / max(1, counts.sum())
        texts = f"{each.classes} classes, {right:.0%} of the examples right"
    note = (
        ""
        if source == "training set"
        else " The labels of the training set are unknown (no analysis.json), so the dev set's are "
        "shown."
    )
    return Figure(
        f"{trial_id}-{name}-confusion",
        f"{name}: confusion of labels, beside how frequent they are",
        f"Confusion matrix of {name}, {int(counts.sum())} dev examples. {texts}.",
        "Each row sums to 1 and shows what was predicted for examples with this label. Correct "
        f"predictions lie on the diagonal. The bars are the labels' shares of the {source}: models "
        f"tend to predict frequent labels.{note}",
        canvas,
    )


def _matrix(axes: Axes, shares: np.ndarray, classes: Sequence[str]) -> None:
    count = len(classes)
    # cividis looks the same with every kind of colour vision, and in grey.
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.grid(False)
    every = max(1, count // _MOST_WRITTEN)
    axes.set_xticks(range(0, count, every), [str(n) for n in range(0, count, every)])
    axes.set_yticks(range(0, count, every), [classes[n] for n in range(0, count, every)])
    if count <= _MOST_WRITTEN:
        for row, column in np.ndindex(count, count):
            axes.text(
                column, row, f"{shares[row, column]:.2f}", ha="center", va="center", fontsize=9.5,
                color="#000000" if shares[row, column] > 0.55 else "#ffffff",
            )  # fmt: skip


def _scatter(trial_id: str, each: TaskErrors) -> Figure:
    """True against predicted similarity, grouped by L1 distance (P0, Figure 4)."""
    name, groups = each.task.name, each.distances()
    with style.axes(3.6) as (canvas, axes):
        low, high = each.task.label_range
        axes.plot([low, high], [low, high], color=style.INK, linewidth=0.8)
        for (group, chosen), look in zip(groups.items(), style.looks(groups).values(), strict=True):
            if chosen.any():
                axes.plot(
                    each.labels[chosen], each.predictions[chosen], markersize=3.5,
                    label=f"{group} ({chosen.mean():.0%})", alpha=0.65,
                    rasterized=len(each.labels) > style.MANY_POINTS,
                    **look.point_options() | {"markeredgecolor": "none"},
                )  # fmt: skip
        axes.set_xlabel(f"true {each.task.label_name}")
        axes.set_ylabel(f"predicted {each.task.label_name}")
    texts = ", ".join(f"{group} {chosen.mean():.1%}" for group, chosen in groups.items())
    return Figure(
        f"{trial_id}-{name}-similarity",
        f"{name}: true against predicted {each.task.label_name}",
        f"{len(each.labels)} dev examples of {name} by distance from the truth: {texts}.",
        f"Grouped by distance from the truth: {_edges(each.task)}, opposite beyond that. "
        "A prediction on the line is exact.",
        canvas,
    )


def _edges(task: Task) -> str:
    """`close is up to 0.5, near up to 1, far up to 2`."""
    edges = [(name, edge) for name, edge in distance_edges(task).items() if np.isfinite(edge)]
    words = ["is up to", *(["up to"] * (len(edges) - 1))]
    return ", ".join(
        f"{name} {word} {edge:g}" for (name, edge), word in zip(edges, words, strict=True)
    )


def _bias(trial_id: str, each: TaskErrors) -> Figure:
    """Under- against over-predictions; for two classes, false negatives and false positives."""
    name, (below, right, above) = each.task.name, each.bias()
    binary = each.task.integer_labels and each.classes == 2
    words = ("false negatives", "false positives") if binary else ("under", "over")
    total, wrong = below + right + above, below + above
    with style.axes(1.45) as (canvas, axes):
        left = 0.0
        pieces = ((words[0], below, style.PALETTE[0], "//"), ("right", right, style.GRID, ""),
                  (words[1], above, style.PALETTE[4], "xx"))  # fmt: skip
        for text, count, colour, hatch in pieces:
            share = 100 * count / total
            axes.barh(
                0, share, left=left, color=colour, hatch=hatch, height=0.5,
                edgecolor=style.PAPER, linewidth=0.8, label=f"{text} {share:.1f} %",
            )  # fmt: skip
            left += share
        axes.set_xlim(0, 100)
        axes.set_yticks([])
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"% of {total:,} dev examples")
    of_errors = (
        f"{below / wrong:.0%} {words[0]}, {above / wrong:.0%} {words[1]}" if wrong else "none"
    )
    return Figure(
        f"{trial_id}-{name}-bias",
        f"{name}: {words[0]} against {words[1]}" + ("" if binary else "-predictions"),
        f"{total} dev examples of {name}: {below} {words[0]}, {right} right, {above} {words[1]}.",
        f"Of its errors: {of_errors}. The errors of an unbiased model are split evenly.",
        canvas,
    )


def _worst(each: TaskErrors) -> Iterable[Part]:
    name = each.task.name
    if not each.worst:
        yield Text(f"{name}: every dev example is predicted correctly.")
        return
    if each.text_problem:
        yield Missing(
            f"{name}: the worst errors are listed by id, without their text: {each.text_problem}."
        )
    numbers = ["true", "predicted"]
    data = TableData(["id", *numbers] if each.text_problem else ["text", *numbers, "id"])
    for error in each.worst[:_SHOWN_ERRORS]:
        numbers = [_class_of(each.task, value) for value in (error.label, error.prediction)]
        if each.text_problem:
            data.add(error.id, *numbers)
        else:
            data.add("\n".join(error.text) or "-", *numbers, error.id)
    yield Table(f"{name}: the {len(data.rows)} largest errors.", data)
