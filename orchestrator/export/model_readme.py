"""The README of an exported model: what it is, and an example that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config.choices import HEADS
from trainer.config.task_choices import LOSSES, LossEntry
from trainer.printable import markdown_text

_HEAD = """# A model of the sweep {sweep}

Trial {trial_id} after epoch {epoch}. `config.json`, `model.safetensors` and the tokenizer's files
are the encoder, which `transformers` opens as a `BertModel`. `heads.safetensors` has everything on
top of it, and `heads.json` says what that computes. Training computed in {precision}; the weights
are in fp32.

| task | pooling | pair | head | outputs |
|---|---|---|---|---|
{rows}

## Example

Run it in this folder (`pip install torch transformers safetensors`):

```python
{code}```

## How a head computes

1. `layout` says how the tokens of a pair stand: C is [CLS], S is [SEP], 1 and 2 are the sentences,
   and | is where the second part begins. That part has token type 1 if `token_type_1` is true, and
   its positions begin at 0 again if `positions_restart` is. In a layout with two C each sentence
   goes through the encoder alone. A single sentence is `C 1 S`.
2. `pooling` makes a vector of each part. `cls` is the pooler's output. `mean` and `max` run over
   the last layer's states of all tokens, special ones included.
3. With `shared_layer` the vector goes through `relu(shared_layer(vector))`, and with
   `relational_layer` then through that one.
4. Two vectors u and v become `features`: `both` is u, v side by side; `difference` adds |u - v|,
   `product` adds u * v, `all` adds both.
5. `head`: `linear` is one linear layer. `mlp` is `output(relu(hidden(vector)))`. `cosine` is a
   linear layer on the cosine of u and v; for real labels its sigmoid is scaled to `label_range`.
6. `loss`: outputs of `cross_entropy` are logits of the classes, the one of `bce` is the logit of
   the second class, others are values.
"""

_LOAD = """import torch
from safetensors.torch import load_file
from transformers import BertModel, BertTokenizerFast

tokenizer = BertTokenizerFast.from_pretrained(".")
bert = BertModel.from_pretrained(".").eval()
heads = load_file("heads.safetensors")
texts = {texts}
tokens = tokenizer(
    *texts, padding=True, truncation=True, max_length={max_length}, return_tensors="pt"
)
with torch.no_grad():
    states, pooled = bert(**tokens, return_dict=False)
"""

_LINEAR = '{to} = torch.nn.functional.linear({of}, heads["{name}.weight"], heads["{name}.bias"])\n'

#: The pair mode whose layout is that of transformers' tokenizer.
_TOKENIZED = "cross"
#: How a pooling is computed from the states and the pooler's output.
_POOLED = {
    "cls": "vector = pooled\n",
    "mean": 'mask = tokens["attention_mask"][:, :, None]\n'
    "vector = (states * mask).sum(1) / mask.sum(1)\n",
    "max": 'mask = tokens["attention_mask"][:, :, None]\n'
    'vector = states.masked_fill(mask == 0, -float("inf")).amax(1)\n',
}
_CLASSES = "print([dict(zip({classes}, row)) for row in probabilities.tolist()])\n"
_SOFTMAX = f"probabilities = output.softmax(-1)\n{_CLASSES}"
_SIGMOID = f"p = output.sigmoid()\nprobabilities = torch.cat([1 - p, p], dim=-1)\n{_CLASSES}"
_VALUES = "values = output.squeeze(-1)\nprint(values.tolist())\n"
_TEXTS = {
    False: '[["a warm and funny film", "it is too long and dull"]]',
    True: '[["How to swim?", "A dog runs."], ["How do I learn to swim?", "A cat sleeps."]]',
}


def readme(described: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        described: the content of heads.json.
    """
    rows = "\n".join(
        f"| {name} | {each['pooling']} | {each.get('pair', '')} | {each['head']} | "
        f"{markdown_text(', '.join(each.get('classes', ()))[:200]) or 'a value'} |"
        for name, each in described["tasks"].items()
    )
    texts = {**described, "sweep": markdown_text(described["sweep"])}
    return _HEAD.format(**texts, rows=rows, code=example(described))


def example(described: Mapping[str, Any]) -> str:
    """Python code for the first task whose head a few lines can compute, or for the encoder."""
    for name, task in described["tasks"].items():
        if task.get("pair", _TOKENIZED) == _TOKENIZED and _layers(task["head"]):
            return _example_of(name, task, shared=described["shared_layer"])
    return _LOAD.format(texts=_TEXTS[False], max_length=128) + "print(pooled.shape)\n"


def _example_of(name: str, task: Mapping[str, Any], *, shared: bool) -> str:
    code = _LOAD.format(texts=_TEXTS["pair" in task], max_length=task["max_length"])
    code += f"\n# The head of {name}.\n{_POOLED[task['pooling']]}"
    layers = ["shared_layer"] * shared + ["relational_layer"] * task["relational_layer"]
    for layer in layers:
        code += _LINEAR.format(to="vector", of="vector", name=layer) + "vector = vector.relu()\n"
    for of, to, part in _layers(task["head"]):
        code += _LINEAR.format(to=to, of=of, name=f"heads.{name}.{part}")
    return code + _answer(LOSSES[task["loss"]]).format(classes=task.get("classes"))


def _layers(head: str) -> Sequence[tuple[str, str, str]]:
    """The layers of a head that takes one vector; empty for other heads."""
    layers: Sequence[tuple[str, str, str]] = getattr(HEADS[head].load(), "layers", ())
    return layers


def _answer(loss: LossEntry) -> str:
    """What the outputs of a loss mean."""
    if loss.output_per_class:
        return _SOFTMAX
    return _SIGMOID if loss.integer_labels else _VALUES
