"""The report: a page that needs nothing else, figures that say what the ledger says, refusals."""

from __future__ import annotations

import re
import shlex
import shutil
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.main import get_command

from orchestrator.cli import app
from orchestrator.compare.compare_sweep import compare_sweep, trials_of
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.statistics.dev_predictions import read_columns
from orchestrator.decision.answer.block import headline
from orchestrator.ledger import Ledger
from orchestrator.ledger.timing_sessions import Session
from orchestrator.report import Report, make, reasons, style, surgery, trial, write_figures
from orchestrator.report.document import representative
from orchestrator.report.errors import read_errors
from orchestrator.report.figure import Figure
from orchestrator.report.parts import Code, Figures, Missing, Table, Text
from orchestrator.spec import load_spec
from tests.support.ledgers import write_trial
from tests.support.paths import SEARCH_SPACES
from tests.support.reported import HOSTILE, write_sweep
from tests.support.small import small_config
from trainer.train import train

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Every element with its attributes, and its text; fails where tags do not nest."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag}"
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        return "\n".join(text for tag, text in self.texts if not tags or tag in tags)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return write_sweep(tmp_path_factory.mktemp("sweeps") / "s")


@pytest.fixture(scope="module")
def report(ledger: Ledger) -> Report:
    return make(ledger)


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(report.html)


def test_the_page_asks_nothing_of_any_network(report: Report, page: Page) -> None:
    for tag, attributes in page.elements:
        for key in ("href", "src", "xlink:href", "action", "srcset", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
    assert set(re.findall(r"url\(['\"]?(.)", report.html)) <= {"#"}
    assert "@import" not in report.html
    spaces = {value for _, a in page.elements for key, value in a.items() if "xmlns" in key}
    addresses = set(re.findall(r"https?://[^\"'<\s]+", report.html))
    assert addresses <= spaces


def test_names_and_sentences_are_text_and_nothing_else(report: Report, page: Page) -> None:
    assert page.all("script") == [] and page.all("b") == []
    assert not [key for _, found in page.elements for key in found if key.startswith("on")]
    assert page.text().count(HOSTILE) >= 4  # question, failed trial's reason, worst errors, file
    assert HOSTILE in page.text("h1") and HOSTILE in page.text("td")


def test_a_hostile_name_harms_no_figure() -> None:
    with style.axes(2.0) as (drawn, axes):
        axes.plot([0, 1], [0, 1], label=HOSTILE)
        style.rows_of_names(axes, [HOSTILE])
    figure = Figure(HOSTILE, HOSTILE, HOSTILE, HOSTILE, drawn)
    assert re.fullmatch(r"[\w.-]+", figure.key)
    assert ElementTree.fromstring(figure.svg()) is not None
    made = Page(figure.inline())
    assert made.all("script") == [] and made.all("svg")[0]["aria-label"] == HOSTILE
    assert HOSTILE in made.text("text")


def test_ids_are_unique_and_every_reference_has_its_target(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) > 100
    wanted = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    wanted |= {a["xlink:href"][1:] for _, a in page.elements if a.get("xlink:href", "")[:1] == "#"}
    wanted |= {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    for _, attributes in page.elements:
        for value in attributes.values():
            wanted |= set(re.findall(r"url\(#([^)]+)\)", value))
    assert wanted - {""} <= set(ids)


def test_every_figure_has_title_label_and_caption(report: Report, page: Page) -> None:
    count = len(report.figures)
    assert count > 25
    assert len(page.all("figure")) == len(page.all("figcaption")) == count
    assert len(page.all("h4")) == count - 1  # the first one stands under the page's title
    drawings = [a for a in page.all("svg") if a.get("role") == "img"]
    twice = sum(figure.phone is not None for figure in report.figures.values())
    assert (
        twice > 5
        and len(drawings) == count + twice
        and all(len(a["aria-label"]) > 30 for a in drawings)
    )
    assert len([t for tag, t in page.texts if tag == "figcaption" and t.strip()]) == count


def test_every_table_has_a_caption_and_scoped_headings(page: Page) -> None:
    tables = len(page.all("table"))
    assert tables == len(page.all("caption")) > 5
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(below <= above + 2 for above, below in zip(levels, levels[1:], strict=False))


def test_the_report_has_every_part(report: Report, page: Page, ledger: Ledger) -> None:
    keys = set(report.figures)
    (trial,) = report.trials
    assert keys >= {"scores-dev_score", "differences", "frontier", "best-of-k", "best-of-k-minutes"}
    assert keys >= {f"progress-dev_score-{x}" for x in ("minutes", "updates", "examples")}
    assert keys >= {"conflicts", "cosine-qqp-sst", "cosine-sst-sts", "step-parts", "utilisation"}
    assert keys >= {"against-single-tasks", f"{trial}-sts-similarity"}
    of_trial = product(("sst", "qqp", "cfimdb"), ("confusion", "bias", "epochs"))
    assert keys >= {f"{trial}-{task}-{kind}" for task, kind in of_trial}
    text = page.text()
    assert "conflicts (mean cosine)" in page.text("th")
    assert "\n50.0% (+0." in page.text("td")
    sentence = report.answer.contests[0].sentence
    assert page.text("p").index(sentence) < page.text("p").index("The minutes ")
    order = [text for tag, text in page.texts if tag in ("h1", "strong", "p", "th", "td", "li")]
    places = [next(i for i, each in enumerate(order) if part in each) for part in (
        HOSTILE, "NOT DECIDED.", sentence, "annealed PCGrad", "Judged by", "To decide: ", "Trials: "
    )]  # fmt: skip
    assert places == sorted(places)
    for part in ("pip install -c constraints.txt", "orch sweep s.yaml", "data fingerprint", "knee"):
        assert part in text
    assert "somewhere" not in text and "SECRET" not in text  # the background's address


def test_confusion_and_bias_count_the_predictions(ledger: Ledger, report: Report) -> None:
    trial = ledger.trial(report.trials[0])
    assert trial is not None
    columns = read_columns(ledger, trial)
    found = {each.task.name: each for each in read_errors(ledger, trial).tasks}
    assert set(found) == set(trial.config["tasks"])
    for name, each in found.items():
        labels, made = (columns[name][key].to_numpy() for key in ("label", "prediction"))
        below, right, above = each.bias()
        assert (below, right, above) == tuple(
            int(np.sum(sign)) for sign in (made < labels, made == labels, made > labels)
        )
        if name == "sts":
            groups = each.distances()
            assert sum(int(chosen.sum()) for chosen in groups.values()) == len(labels)
            assert int(groups["close"].sum()) == int((np.abs(made - labels) <= 0.5).sum())
            continue
        counts = each.confusion()
        assert counts.shape == ((5, 5) if name == "sst" else (2, 2))
        for true, other in np.ndindex(*counts.shape):
            assert counts[true, other] == int(((labels == true) & (made == other)).sum())
        accuracy = trial.records[-1]["tasks"][name]["dev_metric"]
        assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)


def test_the_trial_that_is_shown_is_the_median_of_the_best_method(ledger: Ledger) -> None:
    compared = compare_sweep(ledger, trials_of(ledger), ComparisonOptions())
    (taken,), reason = representative(compared.methods)
    assert compared.methods is not None
    assert compared.methods.standings[0].method in reason and "median" in reason
    same = [t for t in ledger.trials() if t.identity["config_id"] == taken.identity["config_id"]]
    scores = sorted(trial.records[-1]["dev_score"] for trial in same)
    assert len(scores) == 3 and taken.records[-1]["dev_score"] == scores[1]


def test_one_seed_one_epoch_and_minutes_that_do_not_compare_are_said(tmp_path: Path) -> None:
    made = make(write_sweep(tmp_path / "s", seeds=(1,), contended=True, epochs=1))
    assert "frontier" not in made.figures and "best-of-k-minutes" not in made.figures
    reason = "something else was running on the device"
    text = Page(made.html).text()
    assert "No frontier: minutes do not compare" in text and reason in text
    for key in ("score-against-minutes", "progress-dev_score-minutes"):
        drawn = made.figures[key].svg()
        assert "something else" in drawn and style.GREY in drawn
        assert not any(colour in drawn for colour in style.PALETTE)
    coloured = made.figures["progress-dev_score-updates"].svg()
    assert style.PALETTE[0] in coloured and style.GREY not in coloured
    assert "One epoch: points, no curves." in text
    assert "One epoch: its learning curves are points." in text
    assert "One seed: the interval covers only the uncertainty from the dev examples." in text
    assert "of its 1 seeds it has the median" in text


def test_without_predictions_the_records_make_a_report(tmp_path: Path) -> None:
    for sampler, seed in product(("annealed", "arrp"), (1, 2)):
        write_trial(tmp_path / "s", [0.4, 0.5 + seed / 100], sampler=sampler, seed=seed)
    made = make(Ledger(tmp_path, "s"))
    assert make(Ledger(tmp_path, "s")).html == made.html  # the same ledger, the same page
    text = Page(made.html).text()
    assert "no method has an honest score" in text
    assert "No figure of its predictions: " in text and "is missing" in text
    assert "progress-dev_score-updates" in made.figures
    assert "The sweep file is missing" in text


def test_a_sweep_without_a_complete_trial_is_reported_with_its_reasons(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [], sampler="arrp", status="failed", reason=HOSTILE)
    write_trial(tmp_path / "s", [0.4], sampler="annealed", status=None)
    made = make(Ledger(tmp_path, "s"))
    assert made.figures == {} and "no complete trial" in headline(made.answer)
    assert HOSTILE in Page(made.html).text("td")
    assert "No trial is shown: none is complete." in Page(made.html).text("p")


def test_a_trial_without_analysis_has_ids_and_the_reason(ledger: Ledger, tmp_path: Path) -> None:
    shutil.copytree(ledger.folder.path, tmp_path / "s")
    for path in (tmp_path / "s").glob("trials/*/analysis.json"):
        path.write_text("{]")
    damaged = Ledger(tmp_path, "s")
    complete, pruned = (
        list(
            trial.parts(read_errors(damaged, next(t for t in damaged.trials() if t.status == s)), s)
        )
        for s in ("complete", "pruned")
    )
    told = [part.text for part in complete if isinstance(part, Missing)]
    assert told[0].startswith(
        "sst: the worst errors are listed by id, without their text: analysis.json cannot"
    )
    figures = [figure for part in complete if isinstance(part, Figures) for figure in part.figures]
    assert "so the dev set's are shown" in next(f for f in figures if "confusion" in f.key).caption
    told = [part.text for part in pruned if isinstance(part, Missing)]
    assert "only a complete trial has analysis.json, and this one is pruned" in told[0]


def test_what_the_trainer_writes_is_drawn(tmp_path: Path, cache: Path) -> None:
    tasks = ["sst", "qqp", "sts", "cfimdb", "yelp"]
    config = small_config(
        cache, tasks=tasks, relational_layer=True, sampler="round_robin", epochs=1,
        data={"dev_limit": {"sst": 40, "qqp": 40, "sts": 40, "cfimdb": 40}},
    )  # fmt: skip
    list(train(config, str(tmp_path / "s" / "trials" / "rr-1")))
    made = make(Ledger(tmp_path, "s"))
    assert made.trials == ["rr-1"]
    assert "rr-1-cfimdb-confusion" in made.figures and "rr-1-sts-similarity" in made.figures
    assert not any("yelp" in key for key in made.figures if key.startswith("rr-1"))
    text = Page(made.html).text()
    assert "without their text" not in text and "largest errors" in text
    assert "training set" in made.figures["rr-1-sst-confusion"].caption


def test_a_timing_session_says_what_surgery_costs() -> None:
    def turn(seconds: float, surgery: float) -> list[dict[str, object]]:
        parts = {"forward_backward": seconds - surgery, "surgery": surgery}
        return [{"phase": "all", "steps": 1, "seconds": seconds, "parts": parts}]

    about = {
        "trial_ids": ["t-1"], "precision": "fp32",
        "phases": [{"name": "all", "updates": 60, "examples": 480}],
    }  # fmt: skip
    turns = {"a": turn(4.0, 1.0), "b": turn(3.0, 0.0)}
    rounds = [
        {"number": n, "contended": False, "foreign_load": 0.0, "turns": turns} for n in range(6)
    ]
    session = Session.model_validate(
        {
            "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:00Z",
            "device": "cpu", "threads": 1, "host": "", "git_commit": "", "versions": {},
            "rounds_wanted": 6, "steps": 1, "rounds": rounds,
            "configs": [
                {"config_id": "a", "label": HOSTILE, **about},
                {"config_id": "b", "label": "sum", **about, "without_surgery_of": ["a"]},
            ],
        }
    )  # fmt: skip
    figures, table = surgery.parts([session], {})
    assert isinstance(figures, Figures) and isinstance(table, Table)
    assert style.GREY not in figures.figures[0].svg()
    assert f"{HOSTILE}: forward_backward 75%, surgery 25%" in figures.figures[0].alt
    row = [cell.text for cell in table.data.rows[0]]
    assert row[0] == HOSTILE and row[2] == "25.0%" and row[3].startswith("0.250")
    missing, *_ = surgery.parts([], {})
    assert isinstance(missing, Missing)


def test_importance_is_drawn_for_every_target() -> None:
    rows = [
        {
            "target": target,
            "parameter": name,
            "importance": share,
            "configurations": 20,
            "low": 0.1,
            "high": 0.9,
            "chance": 0.7 if target == "dev_score" else 0.9,
        }
        for target in ("dev_score", "minutes_per_epoch")
        for name, share in ((HOSTILE, 0.2), ("B", 0.8))
    ]
    empty = dict.fromkeys(("conflicts", "utilisation", "against_single_task"), ())
    made = reasons.section({**empty, "importances": rows}, [], {}, {}, "a sweep")
    assert [each.key for each in made.figures()] == [
        "importance-dev_score", "importance-minutes_per_epoch",
    ]  # fmt: skip
    assert made.figures()[0].alt.startswith(
        "Importance of the searched parameters for dev_score: B"
    )
    assert len([part for part in made.parts if isinstance(part, Missing)]) == 4
    told = [part.text for part in made.parts if isinstance(part, Text)]
    assert told[0].endswith("more important for dev_score than chance explains: B.")
    assert "no parameter's importance for minutes_per_epoch can be told from chance" in told[1]
    (command,) = (part.text for part in made.parts if isinstance(part, Code))
    program, name, *arguments = shlex.split(command)
    assert program == "orch" and arguments == ["a sweep"]
    assert [each.name for each in get_command(app).commands[name].params][0] == "name"


def test_many_configurations_make_no_large_file(tmp_path: Path) -> None:
    for number, seed in product(range(40), (1,)):
        write_trial(
            tmp_path / "s", [0.4, 0.5 + number / 1000], sampler="arrp", B=100 + number, seed=seed,
            contended=True,
        )  # fmt: skip
    made = make(Ledger(tmp_path, "s"))
    assert len(made.html) < 2**20 and len(made.figures) < 40
    assert "The best 30 of 40 configurations" in made.html


def test_figures_are_whole_svg_and_png_files(report: Report, tmp_path: Path) -> None:
    few = dict(list(report.figures.items())[:2] + list(report.figures.items())[-2:])
    made = Report(report.html, few, report.answer, report.trials)
    written = write_figures(made, tmp_path / "figures")
    names = {f"{key}.{ending}" for key, ending in product(few, ("svg", "png"))}
    assert {path.name for path in written} == names
    for path in written:
        if path.suffix == ".svg":
            root = ElementTree.fromstring(path.read_text())
            assert root.tag.endswith("svg") and "var(" not in path.read_text()
        else:
            assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_looks_differ_without_their_colour() -> None:
    found = list(style.looks(map(str, range(12))).values())
    assert len({each.marker for each in found}) == 12
    same = [(a, b) for a, b in product(found, found) if a is not b and a.colour == b.colour]
    assert all(one.line != other.line for one, other in same)


@pytest.mark.parametrize("paper", ["#ffffff", "#1f2024"])
def test_colours_stand_out_from_light_and_dark_paper(paper: str) -> None:
    for colour in (*style.PALETTE, style.GREY):
        light, dark = sorted((_luminance(colour), _luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 2


def _luminance(colour: str) -> float:
    """Of WCAG 2."""
    parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_sweep_file_in_the_report_runs(tmp_path: Path) -> None:
    spec = load_spec(str(SEARCH_SPACES / "table4.yaml"), "embedded")
    write_trial(tmp_path / spec.name, [0.4, 0.5], sampler="arrp")
    (tmp_path / spec.name / "sweep.yaml").write_text(spec.to_yaml())
    codes = Page(make(Ledger(tmp_path, spec.name)).html).text("code")
    file = tmp_path / "again.yaml"
    file.write_text(codes[codes.index("\nname: ") + 1 :])
    again = load_spec(str(file))
    assert again.to_dict() | {"tracking": {}} == spec.to_dict() | {"tracking": {}}
