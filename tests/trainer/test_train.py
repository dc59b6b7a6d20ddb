"""The loop, against an independent one made of transformers, torchjd and torch's AdamW."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

import trainer.__main__
import trainer.loop.run
from tests.support.hosts import multiplying_bf16
from tests.support.small import small_config
from trainer.config import TrainConfig
from trainer.loop.device import PrecisionError
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.encoder import from_hugging_face_names
from trainer.model.freezing import frozen_segments
from trainer.storage.trial_directory import StoreError, TrialDirectory
from trainer.train import Diverged, train

torchjd_aggregation = pytest.importorskip("torchjd.aggregation", reason="the test extra has it")


class Reference(nn.Module):
    """What people write by hand: padded BertModel, linear heads, one loss a task."""

    def __init__(self, run: Run):
        super().__init__()
        shape = run.model.encoder.shape
        self.bert = BertModel(
            BertConfig(
                vocab_size=shape.vocabulary,
                hidden_size=shape.hidden,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                intermediate_size=shape.intermediate,
                hidden_dropout_prob=0,
                attention_probs_dropout_prob=0,
            )
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(shape.hidden, task.outputs) for name, task in run.tasks.items()}
        )
        run.model.encoder.load_state_dict(self.encoder_weights())
        run.model.heads.load_state_dict(self.head_weights())

    def head_weights(self) -> dict[str, Tensor]:
        return {k.replace(".", ".linear.", 1): t for k, t in self.heads.state_dict().items()}

    def encoder_weights(self) -> dict[str, Tensor]:
        layers = self.bert.config.num_hidden_layers
        return from_hugging_face_names(dict(self.bert.state_dict()), layers)

    def loss(self, run: Run, task: str, rows: Tensor) -> Tensor:
        split = run.corpus.splits[task]["train"]
        texts = [split.part(rows[i : i + 1]) for i in range(len(rows))]
        longest = max(len(text.ids) for text in texts)
        ids, mask, types = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(3))
        for i, text in enumerate(texts):
            length = len(text.ids)
            ids[i, :length], mask[i, :length] = torch.from_numpy(text.ids), 1
            types[i, int(text.first_lengths[0]) : length] = 1
        pooled = self.bert(ids, attention_mask=mask, token_type_ids=types).pooler_output
        output = self.heads[task](pooled)
        labels = torch.from_numpy(split.labels_of(rows))
        if task == "sst":
            return F.cross_entropy(output, labels.long())
        if task == "qqp":
            return F.binary_cross_entropy_with_logits(output[:, 0], labels)
        return F.mse_loss(output[:, 0], labels)


def run_steps(run: Run, number: int) -> None:
    """An epoch's steps without its evaluation."""
    names = [segment.name for segment in run.parameters.segments]
    run._order.manual_seed(9)
    for phase in run.plan(number):
        run.parameters.freeze(frozen_segments(phase.frozen, names))
        for step in phase.steps:
            run.step(phase, step, EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))


def reference_steps(reference: Reference, run: Run, number: int, combine: str) -> None:
    aggregator = {
        "pcgrad": torchjd_aggregation.PCGrad,
        "sum": torchjd_aggregation.Sum,
        "mean": torchjd_aggregation.Mean,
    }[combine]()
    config = run.config
    optimizer = torch.optim.AdamW(
        [
            {"params": list(reference.bert.parameters())},
            {
                "params": list(reference.heads.parameters()),
                "lr": config.head_learning_rate or config.learning_rate,
            },
        ],
        lr=config.learning_rate,
        weight_decay=0.1,
    )
    shared = list(reference.bert.parameters())
    order = torch.Generator().manual_seed(9)
    for phase in run.plan(number):
        frozen = phase.frozen == "encoder"
        for step in phase.steps:
            optimizer.zero_grad(set_to_none=True)
            rows = []
            for draw in step:
                loss = reference.loss(run, draw.task, draw.rows) * phase.loss_scale
                head = list(reference.heads[draw.task].parameters())
                gradients = torch.autograd.grad(loss, [*shared, *head])
                rows.append(torch.cat([g.reshape(-1) for g in gradients[: len(shared)]]))
                for parameter, gradient in zip(head, gradients[len(shared) :], strict=True):
                    share = 1 / len(step) if combine == "mean" else 1
                    parameter.grad = gradient * share
            if len(rows) > 1:
                torch.manual_seed(0)
                torch.set_rng_state(order.get_state())
                update = aggregator(torch.stack(rows))
                order.set_state(torch.get_rng_state())
            else:
                update = rows[0]
            for parameter, part in zip(
                shared, update.split([p.numel() for p in shared]), strict=True
            ):
                parameter.grad = None if frozen else part.view_as(parameter)
            optimizer.step()


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "round_robin", "combiner": "pcgrad"},
        {"sampler": "round_robin", "combiner": "sum"},
        {"sampler": "round_robin", "combiner": "mean"},
        {"sampler": "round_robin", "combiner": "mean", "record_conflicts": True},
        {"sampler": "round_robin", "combiner": "sum", "record_conflicts": True},
        {"sampler": "annealed", "combiner": "pcgrad", "B": 120},
        {"sampler": "arrp", "combiner": "pcgrad", "freeze": "none"},
        {"sampler": "arrp", "combiner": "pcgrad", "freeze": "encoder"},
        {"sampler": "arrp", "freeze": "encoder", "head_learning_rate": 0.02},
    ],
    ids=lambda c: "-".join(str(v) for v in c.values()),
)
def test_an_epoch_ends_with_the_weights_of_the_usual_loop(cache: Path, changes: dict) -> None:
    config = small_config(
        cache, dropout=0.0, encoder_dropout=0.0, attention_dropout=0.0, weight_decay=0.1, **changes
    )
    run = Run(config)
    torch.manual_seed(1)
    reference = Reference(run)
    run_steps(run, 2)
    reference_steps(reference, run, 2, config.combiner)
    trained = run.model.encoder.state_dict()
    for name, expected in reference.encoder_weights().items():
        assert torch.allclose(trained[name], expected, atol=2e-4), name
    for name, expected in reference.head_weights().items():
        assert torch.allclose(run.model.heads.state_dict()[name], expected, atol=2e-4), name


def trained(config: TrainConfig, folder: Path) -> list[dict]:
    return [result.record for result in train(config, str(folder))]


def test_an_epoch_reports_what_it_did(cache: Path, tmp_path: Path) -> None:
    records = trained(small_config(cache), tmp_path / "t")
    assert [r["epoch"] for r in records] == [1, 2]
    record = records[-1]
    assert record["examples"] == 3 * 32 + 64
    assert record["updates"] == 4 + 8 == sum(p["updates"] for p in record["phases"])
    assert record["tasks"]["sts"]["utilisation"] == 1.0
    assert record["tasks"]["qqp"]["examples"] == 96
    assert set(record["cosines"]) == {"qqp|sst", "qqp|sts", "sst|sts"}
    assert set(record["conflicts"]) == set(record["cosines"])
    # Round robin of equal batches: every pair is in each of its four steps.
    assert all(share * 4 == round(share * 4) for share in record["conflicts"].values())
    assert record["conflict_share"] == pytest.approx(sum(record["conflicts"].values()) / 3)
    metrics = {name: values["dev_metric"] for name, values in record["tasks"].items()}
    assert record["dev_mean"] == pytest.approx(sum(metrics.values()) / 3)
    expected = (metrics["sst"] + metrics["qqp"] + (metrics["sts"] + 1) / 2) / 3
    assert record["dev_score"] == pytest.approx(expected)
    end = TrialDirectory(tmp_path / "t").end()
    assert end is not None and end["status"] == "complete"
    assert end["summary"]["dev_score"] == record["dev_score"]
    assert trained(small_config(cache), tmp_path / "t") == []  # finished: nothing to do


def test_minutes_per_epoch_hold_training_alone(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**9))
    monkeypatch.setattr(trainer.loop.clock.time, "perf_counter", lambda: float(next(ticks)))
    one, two = trained(small_config(cache), tmp_path / "t")
    # Every reading of this clock takes a second: a phase is a fixed number of readings, whatever
    # evaluation and checkpoints do meanwhile.
    assert one["minutes_per_epoch"] == two["minutes_per_epoch"] < 0.2
    assert sum(p["minutes"] for p in one["phases"]) == pytest.approx(one["minutes_per_epoch"])
    assert one["setup_minutes"] > 0 and two["setup_minutes"] == 0
    assert one["evaluation_minutes"] > 0 and one["checkpoint_minutes"] > 0


def test_training_learns(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, epochs=6, sampler="round_robin", learning_rate=3e-3, dropout=0.0)
    records = trained(config, tmp_path / "t")
    for task in ("sst", "sts"):
        first, last = (r["tasks"][task]["train_loss"] for r in (records[0], records[-1]))
        assert last < first


@pytest.mark.parametrize("precision", ["fp32", "bf16-emulated"])
def test_the_same_config_gives_the_same_numbers(
    cache: Path, tmp_path: Path, precision: str
) -> None:
    config = small_config(cache, precision=precision, epochs=1)
    first, again = trained(config, tmp_path / "a"), trained(config, tmp_path / "b")
    assert first[0]["files"] == again[0]["files"]


def test_emulated_bf16_is_bf16_to_the_bit_and_by_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying_bf16(monkeypatch, True)
    native = trained(small_config(cache, precision="bf16", epochs=1), tmp_path / "a")
    multiplying_bf16(monkeypatch, False)
    config = small_config(cache, precision="bf16-emulated", epochs=1)
    emulated = trained(config, tmp_path / "b")
    assert native[0]["files"] == emulated[0]["files"]
    stored = [TrialDirectory(tmp_path / name).config() or {} for name in "ab"]
    assert stored[0]["canonical"] == stored[1]["canonical"]
    assert [each["precision"] for each in stored] == ["bf16", "bf16"]
    assert stored[0]["canonical"]["precision"] == "bf16"


def test_bf16_without_native_products_is_refused_before_anything_is_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying_bf16(monkeypatch, False)
    with pytest.raises(PrecisionError, match="precision: bf16-emulated"):
        trained(small_config(cache, precision="bf16"), tmp_path / "t")
    with pytest.raises(PrecisionError, match="does not multiply bf16 natively"):
        told = {"precision": "bf16"}
        list(train(small_config(cache, precision="auto"), str(tmp_path / "t"), identity=told))
    assert not (tmp_path / "t").exists()


def test_auto_keeps_the_precision_that_the_sweep_has(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplying_bf16(monkeypatch, True)
    config = small_config(cache, precision="auto", epochs=1)
    for _ in train(config, str(tmp_path / "t"), identity={"precision": "fp32"}):
        pass
    assert (TrialDirectory(tmp_path / "t").config() or {})["precision"] == "fp32"
    same = trained(small_config(cache, precision="fp32", epochs=1), tmp_path / "same")
    assert TrialDirectory(tmp_path / "t").records()[0]["files"] == same[0]["files"]


def test_auto_resumes_in_the_precision_that_it_began_with(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(cache, precision="auto", epochs=2)
    for native, other, precision in ((True, False, "bf16"), (False, True, "fp32")):
        folder = tmp_path / precision
        multiplying_bf16(monkeypatch, native)
        next(train(config, str(folder)))
        multiplying_bf16(monkeypatch, other)
        if precision == "bf16":
            with pytest.raises(PrecisionError, match="bf16"):
                trained(config, folder)
            multiplying_bf16(monkeypatch, native)
        assert len(trained(config, folder)) == 1
        assert (TrialDirectory(folder).config() or {})["precision"] == precision


def test_the_command_refuses_in_one_line_and_names_what_it_uses(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(trainer.__main__.signal, "signal", lambda *arguments: None)
    caplog.set_level(logging.INFO)
    multiplying_bf16(monkeypatch, False)
    file, out = tmp_path / "c.json", tmp_path / "t"
    arguments = ["--config", str(file), "--out", str(out), "--json"]
    file.write_text(json.dumps(small_config(cache, precision="bf16", epochs=1).to_dict()))
    assert trainer.__main__.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("precision: bf16: ") and "precision: auto" in line
    assert not out.exists()
    file.write_text(
        json.dumps(small_config(cache, precision="auto", device="cpu", epochs=1).to_dict())
    )
    assert trainer.__main__.main(arguments) == 0
    (said,) = (text for text in caplog.messages if text.startswith("precision: "))
    assert said.startswith("precision: fp32 (auto; this CPU does not multiply bf16 natively)")
    assert "device: cpu" in said and "threads: 1" in said
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_another_trials_folder_is_refused(cache: Path, tmp_path: Path) -> None:
    trained(small_config(cache, epochs=1), tmp_path / "t")
    (tmp_path / "t" / "end.json").unlink()
    with pytest.raises(StoreError, match="holds another trial"):
        trained(small_config(cache, epochs=1, seed=4), tmp_path / "t")
    TrialDirectory(tmp_path / "t").write_end("complete")
    with pytest.raises(StoreError, match="holds another trial"):  # a finished one too
        trained(small_config(cache, epochs=1, seed=4), tmp_path / "t")


def test_a_config_key_that_came_later_does_not_stop_a_resume(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, epochs=1)
    trained(config, tmp_path / "t")
    (tmp_path / "t" / "end.json").unlink()
    path = tmp_path / "t" / "config.json"
    stored = json.loads(path.read_text())
    del stored["config"]["smart_weight"], stored["canonical"]["smart_weight"]
    path.write_text(json.dumps(stored))
    assert trained(config, tmp_path / "t") == []
    assert (TrialDirectory(tmp_path / "t").end() or {})["status"] == "complete"


def test_a_diverging_trial_fails_with_that_word(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, learning_rate=1.0, epochs=3)
    model = trainer.loop.run.build_model

    def broken(*arguments: object) -> nn.Module:
        made = model(*arguments)  # type: ignore[arg-type]
        nn.init.constant_(made.encoder.pooler.weight, float("nan"))
        return made

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Diverged, match="epoch 1"):
        patch.setattr(trainer.loop.run, "build_model", broken)
        trained(config, tmp_path / "t")
    end = TrialDirectory(tmp_path / "t").end()
    assert end is not None and (end["status"], end["reason"]) == ("failed", "diverged")


def test_divergence_in_the_last_update_is_divergence(cache: Path, tmp_path: Path) -> None:
    """The losses before it were finite; the dev loss behind it is not."""
    config = small_config(cache, epochs=1)
    evaluate = Run.evaluate

    def broken(run: Run, split: str):
        with torch.no_grad():
            run.model.encoder.pooler.weight.fill_(float("nan"))
        return evaluate(run, split)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Diverged, match="dev loss"):
        patch.setattr(Run, "evaluate", broken)
        trained(config, tmp_path / "t")
    assert (TrialDirectory(tmp_path / "t").end() or {})["reason"] == "diverged"


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "linear", "warmup_steps": 3},
        {"sampler": "sequential", "optimizer_state": "per_task", "schedule": "linear"},
        {"combiner": "torchjd.GradVac", "sampler": "annealed", "B": 100},
    ],
    ids=["schedule", "schedules by task", "a method with a state"],
)
def test_one_epoch_a_process_ends_like_one_process(
    cache: Path, tmp_path: Path, changes: dict
) -> None:
    config = small_config(cache, epochs=3, **changes)
    whole = [record["files"] for record in trained(config, tmp_path / "a")]
    parts = []
    for _ in range(3):
        parts.append(next(iter(train(config, str(tmp_path / "b")))).record["files"])
    assert parts == whole


def test_surgery_groups_are_combined_as_one_gradient(cache: Path, tmp_path: Path) -> None:
    groups = {"sst": "main", "qqp": "main"}
    (record,) = trained(small_config(cache, epochs=1, surgery_groups=groups), tmp_path / "t")
    assert set(record["cosines"]) == {"main|sts"}


def test_conflicts_under_the_plain_sum_are_recorded_on_request(cache: Path, tmp_path: Path) -> None:
    for asked in (False, True):
        config = small_config(cache, epochs=1, combiner="sum", record_conflicts=asked)
        (record,) = trained(config, tmp_path / str(asked))
        assert set(record["cosines"]) == ({"qqp|sst", "qqp|sts", "sst|sts"} if asked else set())
        assert (record["conflict_share"] is not None) == asked


def test_conflicts_are_told_apart_by_phase(cache: Path, tmp_path: Path) -> None:
    """Only ARRP's round robin has several tasks a step: its penalised phases have no pairs."""
    (record,) = trained(small_config(cache, epochs=1), tmp_path / "t")
    first, *others = record["phases"]
    assert others and not any(phase.get("cosines") for phase in others)
    assert first["cosines"] == record["cosines"] != {}
    assert first["conflicts"] == record["conflicts"]
    assert first["conflict_share"] == record["conflict_share"]


def test_sequential_step_updates_once_a_batch(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, epochs=1, sampler="round_robin", combiner="sequential_step")
    (record,) = trained(config, tmp_path / "t")
    assert record["updates"] == 3 * 4


def test_each_task_of_a_sequential_trial_has_its_own_moments(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, epochs=1, sampler="sequential", optimizer_state="per_task")
    trained(config, tmp_path / "t")
    state = load_file(tmp_path / "t/checkpoints/001/optimizer.safetensors")
    assert {key.split("|")[0] for key in state} == {"sst", "qqp", "sts"}
    steps = {task: state[f"{task}|pooler|step"].item() for task in ("sst", "qqp", "sts")}
    assert steps == {"sst": 6, "qqp": 188, "sts": 4}  # ceil(45, 1500, 32 over 8)


def test_smart_changes_what_is_trained(cache: Path, tmp_path: Path) -> None:
    plain = trained(small_config(cache, epochs=1), tmp_path / "a")
    for name in ("smart_weight", "bregman_weight"):
        smart = trained(small_config(cache, epochs=1, **{name: 5.0}), tmp_path / name)
        assert smart[0]["files"] != plain[0]["files"]


def test_a_linear_schedule_warms_up_and_ends_near_zero(cache: Path) -> None:
    run = Run(small_config(cache, schedule="linear", warmup_steps=4, sampler="round_robin"))
    assert factors(run, 8) == [[pytest.approx(f)] for f in _TWO_EPOCHS]


#: Two epochs of four steps, a warm-up of four.
_TWO_EPOCHS = (0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25)


def factors(run: Run, updates: int) -> list[list[float]]:
    """The rates of so many updates, over learning_rate, by parameter group."""
    found = []
    for _ in range(updates):
        run.optimizers.set_rates("main")
        groups = run.optimizers.get("main").param_groups
        found.append([group["lr"] / run.config.learning_rate for group in groups])
        run.optimizers.updates["main"] += 1
    return found


def test_the_heads_own_rate_follows_the_schedule_too(cache: Path) -> None:
    config = small_config(
        cache, schedule="linear", warmup_steps=4, sampler="round_robin", learning_rate=1e-3,
        head_learning_rate=5e-3,
    )  # fmt: skip
    expected = [pytest.approx([factor, 5 * factor]) for factor in _TWO_EPOCHS]
    assert factors(Run(config), 8) == expected
