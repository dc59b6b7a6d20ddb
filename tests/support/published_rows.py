"""Every row of the papers' tables as changes of a config."""

from __future__ import annotations

from typing import Any

FOUR = ["sst", "qqp", "sts", "yelp"]
MIX = {"sampler": "cycle", "batch_size": {"sst": 2, "qqp": 24, "sts": 2}}
WITH_YELP = {
    "sampler": "cycle", "tasks": FOUR, "batch_size": {"sst": 2, "qqp": 24, "sts": 2, "yelp": 2},
}  # fmt: skip
SMART = {"smart_weight": 5.0, "bregman_weight": 1.0}

ROWS: dict[str, dict[str, Any]] = {
    "P0 RR-PCGrad": {"sampler": "round_robin"},
    "P0 A-PCGrad": {"sampler": "annealed", "B": 100},
    "P0 V-PCGrad": {"sampler": "proportional", "B": 100},
    "P0 ARRP F=0": {"sampler": "arrp", "lambda": 0.3, "B": 60},
    "P0 ARRP F=1": {"sampler": "arrp", "lambda": 0.5, "B": 60, "freeze": "encoder"},
    "P0 ARRP, several large tasks": {
        "sampler": "arrp",
        "B": {"qqp": 60, "sst": 5},
        "lambda": {"qqp": 0.1, "sst": 0.5},
    },  # fmt: skip
    "P0 task by task": {"sampler": "sequential"},
    "P0 random": {"sampler": "untrained"},
    "P3 annealed, stronger": {"sampler": "annealed", "B": 100, "annealing": 1.0},
    "P1 pretrain": {"sampler": "cycle", "freeze": "encoder", "combiner": "sum", "batch_size": 32},
    "P1 finetune-seq": {
        "sampler": "sequential",
        "task_order": ["qqp", "sst", "sts"],
        "optimizer_state": "per_task",
        "combiner": "sum",
        "batch_size": 32,
    },  # fmt: skip
    "P1 mix": {**MIX, "combiner": "sum"},
    "P1 mix+surgery": {**MIX, "combiner": "pcgrad"},
    "P1 mix+surgery, mean": {**MIX, "combiner": "pcgrad", "reduction": "mean"},
    "P1 mix+yelp": {**WITH_YELP, "combiner": "sum"},
    "P1 mix+yelp+surgery, four gradients": {**WITH_YELP, "combiner": "pcgrad"},
    "P1 mix+yelp+surgery, two gradients": {
        **WITH_YELP,
        "combiner": "pcgrad",
        "surgery_groups": {"sst": "main", "qqp": "main", "sts": "main"},
    },  # fmt: skip
    "P1 siamese": {"pair": "siamese"},
    "P2 single": {"sampler": "single_task", "train_task": "sts", "shared_layer": True},
    "P2 PCGrad": {"shared_layer": True},
    "P2 PCGrad, sts on Pearson's r": {
        "shared_layer": True,
        "task_declarations": {"sts": {"loss": "pearson"}},
    },  # fmt: skip
    "P2 and P3, accuracy of sts": {"task_declarations": {"sts": {"metric": "accuracy"}}},
    "P0 and P3, class weights": {"class_weights": "balanced"},
    "task weights": {"task_weights": {"qqp": 0.5}},
    "pair loss, cosine embedding": {"pair": "siamese", "pair_loss": "cosine_embedding"},
    "pair loss, multiple negatives": {
        "pair": "siamese",
        "pair_loss": {"qqp": "multiple_negatives"},
        "pair_loss_weight": 0.5,
    },  # fmt: skip
    "f1 and Spearman": {
        "task_declarations": {
            "sst": {"metric": "f1"},
            "qqp": {"metric": "f1"},
            "sts": {"metric": "spearman"},
        },
    },  # fmt: skip
    "P3 proportional": {
        "sampler": "proportional",
        "draws_per_step": 1,
        "steps_per_epoch": 6,
        "pair": "concat",
    },  # fmt: skip
    "P3 annealed, separator": {
        "sampler": "annealed",
        "draws_per_step": 1,
        "steps_per_epoch": 6,
        "pair": "concat_sep",
    },  # fmt: skip
    "P3 triple-batch": {"combiner": "sequential_step", "pair": "concat"},
    "P3 triple-batch, cosine, surgery, separator": {
        "pair": {"qqp": "concat_sep", "sts": "siamese"},
        "head": {"sts": "cosine"},
    },  # fmt: skip
    "P3 cfimdb": {"tasks": ["cfimdb"], "sampler": "single_task"},
    "P4 smart": {"sampler": "single_task", "train_task": "sst", **SMART},
    "P4 rrobin": {"combiner": "sum"},
    "P4 rrobin+smart": {"combiner": "sum", **SMART},
    "P4 rrobin-pre+smart": {"sampler": "rr_pretrain", "combiner": "sum", **SMART},
    "P4 rrobin-full": {"sampler": "interleaved", "combiner": "sum"},
    "P4 rrobin-full+layer": {
        "sampler": "interleaved",
        "combiner": "sum",
        "relational_layer": True,
    },  # fmt: skip
    "P4 smart, l2 ball of the paper": {
        "sampler": "cycle",
        "batch_size": 32,
        "smart_weight": 5.0,
        "smart_norm": "l2",
        "smart_radius": "absolute",
        "smart_epsilon": 0.1,
        "smart_steps": 2,
    },
    "P1 finetune-seq, a decaying rate for each task": {
        "sampler": "sequential",
        "optimizer_state": "per_task",
        "schedule": "linear",
        "combiner": "sum",
        "batch_size": 32,
    },
    "accumulation and clipping": {"accumulate": 4, "clip_norm": 1.0, "batch_size": 2},
    "cosine schedule": {"schedule": "cosine", "warmup_steps": 2},
    "layer-wise rates": {"layer_decay": 0.95, "head_learning_rate": 0.01},
    "the course's AdamW": {"adam_epsilon": 1e-6, "weight_decay": 0.01},
    "P1 mean pooling, cosine": {"pair": "siamese", "head": {"sts": "cosine"}, "pooling": "mean"},
    "P2 shared layer and heads alone": {"shared_layer": True, "freeze": "bert"},
    "P4 relational layer and heads alone": {"relational_layer": True, "freeze": "bert"},
    "a head with a hidden layer": {"head": "mlp"},
    "pair features, difference": {"pair": "siamese", "pair_features": {"qqp": "difference"}},
    "pair features, product": {"pair": "siamese", "pair_features": {"sts": "product"}},
    "pair features, all": {"pair": "siamese", "pair_features": "all", "head": "mlp"},
    "max pooling": {"pooling": {"sst": "max", "qqp": "mean"}},
    "P1 the best epoch counts": {"score": "best"},
    "torchjd UPGrad": {"combiner": "torchjd.UPGrad"},
    "frozen embeddings": {"freeze": "embeddings+layers:0"},
}
