"""Words as CLIP cuts them, and Uni-Perceiver: against definitions, and what must not matter."""

import json
import math
import pickle
import random
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.goldens import law_of_weights as module_at
from helpers.goldens import near
from helpers.perceivers import PATCHES, SMALL, perceiver
from torch import Tensor

import internimage as ii
from internimage.checkpoints.layouts import from_ours
from internimage.errors import CheckpointMismatchError, ConfigError, DataError, InputSizeError
from internimage.multimodal.models.config import UniPerceiverConfig
from internimage.multimodal.models.uniperceiver import UniPerceiver
from internimage.multimodal.names.uniperceiver import COPIES, from_deepspeed
from internimage.multimodal.recipes import RECIPES
from internimage.multimodal.sequences.encoder import Encoder
from internimage.multimodal.sequences.experts import ExpertLinear
from internimage.multimodal.sequences.kinds import CAPTION_TEXT, NAME, QUESTION
from internimage.multimodal.sequences.losses import alike, named_loss, pair_loss
from internimage.multimodal.sequences.patches import PatchConfig
from internimage.multimodal.sequences.sight import caption_mask, caption_table
from internimage.multimodal.sequences.targets import MaskedTexts, NamedPictures, Questions, Sentences, WordTargets
from internimage.multimodal.words.beams import Decoding, write
from internimage.settings.plain import from_plain
from internimage.text.clip import END, SPE, ClipTokenizer

TEXTS = [[301, 305, 310, END], [320, END], [301, 302, 303, 304, 305, END]]
KINDS = [SMALL, PATCHES, replace(PATCHES, layers=3, experts=4)]
NAMES = ["internimage", "patches", "experts"]
FROZEN = [12.74182, 12.77354, 13.29631, 12.95182]


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer()


def pictures(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Words


def test_tokens_are_the_released_code_s(tokenizer: ClipTokenizer) -> None:
    rows = json.loads((Path(__file__).parent / "data/multimodal/clip_tokens.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 25
    copied = pickle.loads(pickle.dumps(tokenizer))
    for text, ids, decoded in rows:
        assert copied.pieces(text) == ids
        assert tokenizer.encode(text) == [*ids, END]
        if not any(one >= 49406 for one in ids):
            assert tokenizer.decode(ids) == decoded.strip()
    assert tokenizer.decode([320, 2368, SPE, END, 320]) == "a cat"


def test_tokens_are_open_clip_s(tokenizer: ClipTokenizer) -> None:
    found = find_spec("open_clip")
    assert found is not None
    assert found.submodule_search_locations
    other = module_at(Path(found.submodule_search_locations[0]) / "tokenizer.py").SimpleTokenizer()  # without timm
    drawn = random.Random(0)
    letters = [
        *"abcdefgh stuvwxyz  ABC 'sS'tT'Ll0123456789.,;!?-_/\\\"\t\n",
        *"éßſKﬁ日本😀²½İǅ’“٣ा",
        "&lt;",
        "\u200d",
        "\xa0",
    ]
    for _ in range(800):
        text = "".join(drawn.choice(letters) for _ in range(drawn.randrange(1, 30)))
        assert tokenizer.pieces(text) == other.encode(text), text


def test_long_texts_are_cut_or_refused(tokenizer: ClipTokenizer) -> None:
    assert tokenizer.encode("a cat and a dog", 3) == [320, 2368, END]
    assert tokenizer.encode("a cat", 3) == [320, 2368, END]
    assert tokenizer.encode("a cat", 1) == [END]
    assert len(tokenizer.pieces("x" * 100_000)) > 10_000
    with pytest.raises(DataError, match=r"a text has 1,000,000 characters; expected 100,000 or fewer"):
        tokenizer.encode("x" * 1_000_000)
    with pytest.raises(ConfigError, match="longest is 0; expected 1 or more"):
        tokenizer.encode("a", 0)
    with pytest.raises(DataError, match="there is no token 49411; expected 0 to 49410"):
        tokenizer.decode([49411])


def test_a_model_names_the_words_that_it_does_not_know() -> None:
    model = perceiver(PATCHES)
    assert model.vocabulary.ids == (*range(300, 358), END, SPE)
    with pytest.raises(DataError, match="this model does not know 'cat', 'dog'; it knows 60 pieces of words"):
        model.encode_texts([[301, 2368, END], [1929, END]])
    for texts, message in (([[]], "a text is empty"), ([], "there are no texts")):
        with pytest.raises(DataError, match=message):
            model.encode_texts(texts)
    with pytest.raises(DataError, match="a text has 25 tokens; this model reads 24 or fewer"):
        perceiver(SMALL).encode_texts([[301] * 24 + [END]])


# Who sees whom


@pytest.mark.parametrize(("before", "words"), [(3, 1), (2, 4)])
def test_places_see_the_words_before_them(before: int, words: int) -> None:
    table = caption_table(before, words)
    for row in range(2 * words):
        for column in range(before + 2 * words):
            word, own = column - before, column - before - words
            seen = column < before or (0 <= word < words and (word <= row if row < words else word < row - words))
            assert bool(table[row, column]) == (seen or (row >= words and own == row - words))
    present = torch.tensor([[True] * words, [True] + [False] * (words - 1)])
    mask = caption_mask(before, present)[:, 0]
    assert torch.equal(mask[0], table)
    assert mask[1].sum() == sum(table[:, column].sum() for column in (*range(before + 1), before + words))


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
@torch.no_grad()
def test_padding_and_neighbours_do_not_matter(config: UniPerceiverConfig) -> None:
    model = perceiver(config)
    together = model.encode_texts(TEXTS)
    near(together, torch.cat([model.encode_texts([text]) for text in TEXTS]), 1e-12)
    both, one = (
        model.caption_states(model.prefix(pictures()), TEXTS),
        model.caption_states(model.prefix(pictures()[1:2]), TEXTS[1:2]),
    )
    near(both[0][1, [0, 1, 6, 7]], one[0][0], 1e-12)
    answers = model.encode_texts(TEXTS[:2])
    tokens = model.picture_tokens(pictures())
    near(model.answer(tokens, TEXTS, answers)[1], model.answer(tokens[1:2], TEXTS[1:2], answers)[0], 1e-11)
    near(model.encode_pictures(pictures()).norm(dim=1), torch.ones(3), 1e-12)


# Experts


def test_merged_experts_are_their_mixture() -> None:
    torch.manual_seed(0)
    layer = ExpertLinear(6, 10, 8, 6).double().eval()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    decision = layer.decide(NAME, 0)
    first, second = (layer.experts[number](x) for number in decision.choice.experts)
    mixture = decision.choice.weights[0] * first + decision.choice.weights[1] * second
    near(layer(x, decision), mixture, 1e-7)  # the weights' sum is 1 in float32
    near(layer.merged(decision)(x), layer(x, decision), 1e-14)
    embedded = layer.gate.norm(layer.gate.embed(torch.tensor([1, 0, 0, 1, 0, 1, 1, 0]).double()))
    shares = layer.gate.score(embedded).softmax(0)
    best = shares.argsort(descending=True)[:2]
    assert decision.choice.experts == tuple(best.tolist())
    near(decision.choice.weights, shares[best] / shares[best].sum(), 1e-6)
    asked = layer.decide(QUESTION, 2)
    parts = [
        layer.merged(layer.decide(replace(QUESTION, bits=bits, text_bits=None), 0)) for bits in ("11011000", "11010100")
    ]
    near(layer(x, asked), torch.cat([parts[0](x[:, :2]), parts[1](x[:, 2:])], 1), 1e-14)


@torch.no_grad()
def test_a_merged_encoder_does_the_same_and_training_is_noisy() -> None:
    torch.manual_seed(0)
    encoder = Encoder(3, 8, 2, 16, 4).double().eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    merged = encoder.merged(CAPTION_TEXT)
    near(merged(x, CAPTION_TEXT)[0], encoder(x, CAPTION_TEXT)[0], 1e-13)
    assert not [name for name in merged.state_dict() if "experts" in name]
    assert [name for name in encoder.state_dict() if "experts" in name]
    assert torch.equal(encoder(x, CAPTION_TEXT)[0], encoder(x, CAPTION_TEXT)[0])
    encoder.train()
    assert not torch.equal(encoder(x, CAPTION_TEXT)[0], encoder(x, CAPTION_TEXT)[0])


# Writing


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
@torch.no_grad()
def test_writing_sees_what_training_sees(config: UniPerceiverConfig) -> None:
    model = perceiver(config)
    vocabulary, prefix = model.vocabulary_features(), model.prefix(pictures())
    outputs, rows, _ = model.caption_states(prefix, [TEXTS[2]] * 3)
    expected = model.likelihood.logits("caption", model.likelihood.features(outputs[:, 6:]).flatten(0, 1), vocabulary)
    writer = model.writer(prefix, vocabulary)
    for step, logits in enumerate(expected.unflatten(0, (3, 6)).unbind(1)):
        found = writer(rows[:, step - 1], torch.arange(3)) if step else writer(None, None)
        near(found, logits, 1e-12)
    if config == PATCHES:
        near(expected[0, :4], torch.tensor(FROZEN), 1e-4)


class Table:
    """Logits that depend on the sentence so far."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.before: list[tuple[int, ...]] = []

    def of(self, picture: int, sentence: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(hash((picture, *sentence)) % 2**31)
        return 3 * torch.randn(self.words, generator=generator, dtype=torch.float64)

    def __call__(self, words: Tensor | None, rows: Tensor | None) -> Tensor:
        if words is None or rows is None:
            self.before = [(picture,) for picture in range(4)]
        else:
            self.before = [(*self.before[row], word) for row, word in zip(rows.tolist(), words.tolist(), strict=True)]
        return torch.stack([self.of(one[0], one[1:]) for one in self.before])


def by_hand(table: Table, picture: int, end: int, beams: int, steps: int, penalty: float) -> tuple[list[int], float]:
    """Beam search, sentence by sentence."""
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(steps):
        more = []
        for score, words in kept:
            if words and words[-1] == end:
                more.append((score, [*words, end]))
                continue
            each = table.of(picture, tuple(words)).log_softmax(0).tolist()
            more += [(score + one, [*words, word]) for word, one in enumerate(each)]
        kept = sorted(more, reverse=True)[:beams]
    lengths = [sum(word != end for word in words) + 1 for _, words in kept]
    score, words = max((score / length**penalty, words) for (score, words), length in zip(kept, lengths, strict=True))
    return words, score


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_beams_are_those_found_by_hand(beams: int, penalty: float) -> None:
    table = Table(7)
    written = write(table, 3, Decoding(beams, 5, penalty))
    assert (written.words == 3).any()
    for picture in range(4):
        words, score = by_hand(table, picture, 3, beams, 5, penalty)
        found = written.words[picture].tolist()
        assert found + [3] * (5 - len(found)) == words
        assert float(written.scores[picture]) == pytest.approx(score)
        length = sum(word != 3 for word in found) + 1
        assert float(written.log_probabilities[picture].sum()) / length**penalty == pytest.approx(score)


def test_words_are_drawn_from_the_likeliest() -> None:
    table = Table(7)
    greedy = write(table, 3, Decoding(1, 5))
    for sure in (Decoding(1, 5, temperature=1e-3), Decoding(1, 5, temperature=1.0, top_p=1e-6)):
        assert torch.equal(write(table, 3, sure).words, greedy.words)
    free = Decoding(1, 5, temperature=1.5, seed=1)
    assert torch.equal(write(table, 3, free).words, write(table, 3, free).words)
    assert not torch.equal(write(table, 3, free).words, write(table, 3, replace(free, seed=2)).words)
    share = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    drawn = write(lambda words, rows: share.log().expand(4000, 4), -1, Decoding(1, 1, temperature=1.0, top_p=0.7)).words
    counts = drawn.flatten().bincount(minlength=4)
    assert counts[2:].tolist() == [0, 0]
    assert float(counts[0]) == pytest.approx(4000 * 0.625, abs=4 * math.sqrt(4000 * 0.625 * 0.375))


def test_captions_end_early_and_have_ids_of_clip() -> None:
    model = perceiver(PATCHES)
    written = model(pictures(2))
    assert set(written.words.flatten().tolist()) <= set(model.vocabulary.ids)
    again = model.decode(model.prefix(pictures(2)), model.vocabulary_features(), Decoding(1))
    assert torch.equal(written.words, again.words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "beams is 0"),
        ({"steps": 0}, "steps 0"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"beams": 1, "temperature": 0.0}, "temperature is 0"),
        ({"beams": 2, "temperature": 1.0}, "expected 1 beam to draw"),
        ({"top_p": 0.5}, "without a temperature"),
    ],
)
def test_what_cannot_be_chosen_so_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Decoding(**options)


# Losses


def test_losses_are_their_definitions() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table, of = torch.tensor([[1, 2], [3, 2], [1, 2], [4, 2]]), torch.tensor([0, 1, 2, 1])
    left_out = alike(table, of)
    assert left_out.int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    total = 0.0
    for row in range(4):
        columns = [column for column in range(4) if column == row or not left_out[row, column]]
        each = logits[row, columns].log_softmax(0)
        total -= 0.9 * float(each[columns.index(row)]) + 0.1 * float(each.mean())
    assert float(pair_loss(logits, left_out)) == pytest.approx(total / 4)
    near(pair_loss(logits), pair_loss(logits, torch.eye(4, dtype=torch.bool)), 1e-12)
    hard = torch.full((4, 4), 0.025, dtype=torch.float64) + 0.9 * torch.eye(4, dtype=torch.float64)
    near(named_loss(logits, hard), named_loss(logits, torch.arange(4)), 1e-12)


def every_target() -> WordTargets:
    return WordTargets(
        NamedPictures(TEXTS, torch.tensor([2, 0]), [0, 2]),
        Sentences(TEXTS[:2], [1, 1]),
        Sentences([*TEXTS, TEXTS[0]], [0, 1, 2, 2]),
        Questions(TEXTS, [[311, END], [312, 313, END]], [0, 1, 1]),
        MaskedTexts([[301, SPE, 303, END], [SPE, END]], [[None, 302, None, None], [300, None]]),
    )


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
def test_losses_share_the_pictures_tokens_and_nothing_else(config: UniPerceiverConfig) -> None:
    """One pass of the backbone; each loss is what it is alone; all that should learn has a gradient."""
    model, targets, calls = perceiver(config), every_target(), []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    together = model.losses(pictures(), targets)
    assert len(calls) == 1
    assert set(together) == set(asdict(targets))
    for name, loss in together.items():
        alone = model.losses(pictures(), WordTargets(**{name: getattr(targets, name)}))
        assert set(alone) == {name}
        near(alone[name], loss, 1e-12)
    sum(together.values(), torch.zeros(())).backward()
    idle = [name for name, one in model.named_parameters() if one.grad is None]
    unused = ("released_type", ".output.gate", ".linear2.gate", ".experts.", "scales")
    assert not [name for name in idle if not any(part in name for part in unused)]
    used = {"img_cls", "caption", "retrieve", "downstream", "text_mlm"}
    assert {name for name, one in model.likelihood.scales.items() if one.grad is not None} == used
    assert model.losses(pictures(), WordTargets()) == {}


@torch.no_grad()
def test_smoothing_spreads_a_share_over_all_words_and_answers() -> None:
    model, targets = perceiver(SMALL).eval(), every_target()
    assert targets.captions is not None
    assert targets.questions is not None
    smoothed = WordTargets(
        captions=replace(targets.captions, label_smoothing=0.2),
        questions=replace(targets.questions, label_smoothing=0.2),
    )
    losses = model.losses(pictures(), smoothed)
    outputs, rows, present = model.caption_states(model.prefix(pictures()[[1, 1]]), TEXTS[:2])
    written = model.likelihood.features(outputs[:, rows.shape[1] :][present])
    words = model.likelihood.logits("caption", written, model.vocabulary_features()).log_softmax(1)
    choices = model.encode_texts(targets.questions.choices)
    answers = model.answer(model.picture_tokens(pictures()), TEXTS, choices).log_softmax(1)
    for name, each, right in (("captions", words, rows[present]), ("questions", answers, [0, 1, 1])):
        expected = [0.8 * float(row[place]) + 0.2 * float(row.mean()) for row, place in zip(each, right, strict=True)]
        assert float(losses[name]) == pytest.approx(-sum(expected) / len(expected), rel=1e-10)


def test_the_right_words_are_learnt() -> None:
    """A few steps on captions, questions and pairs of two pictures."""
    torch.manual_seed(0)
    model = UniPerceiver(PATCHES).train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    given, texts = pictures(2).float(), TEXTS[:2]
    targets = WordTargets(
        captions=Sentences(texts), pairs=Sentences(texts), questions=Questions([TEXTS[2]] * 2, texts, [1, 0])
    )
    for _ in range(35):
        optimiser.zero_grad()
        sum(model.losses(given, targets).values(), torch.zeros(())).backward()
        optimiser.step()
    model.eval()
    written = model(given).words.tolist()
    assert written[0] == texts[0]
    assert written[1][:2] == texts[1]
    answers = model.encode_texts(texts)
    assert model.answer(model.picture_tokens(given), [TEXTS[2]] * 2, answers).argmax(1).tolist() == [1, 0]
    assert (model.encode_pictures(given) @ answers.T).argmax(1).tolist() == [0, 1]


# What a model promises


def test_steep_temperatures_stay_at_a_hundred_and_learn_nothing() -> None:
    likelihood = perceiver(PATCHES).likelihood
    with torch.no_grad():
        likelihood.scales["caption"].fill_(math.log(150))
    scale = likelihood.scale("caption")
    assert scale.item() == 100
    scale.backward()
    assert likelihood.scales["caption"].grad == 0
    assert likelihood.scale("retrieve").item() == pytest.approx(1 / 0.07)


def test_pictures_of_other_sizes_and_clips() -> None:
    """Positions keep their span; the frames of a clip differ by their time alone; long clips are stretched."""
    model = perceiver(PATCHES)
    assert model.picture_tokens(torch.zeros(1, 3, 48, 16).double()).shape == (1, 12, 16)
    larger = perceiver(replace(PATCHES, backbone=PatchConfig(8, 64)))
    near(larger.pictures.positions[::2][0], model.pictures.positions[0], 1e-6)
    near(larger.pictures.positions[2 * 8 + 2], model.pictures.positions[4 + 1], 1e-6)
    clip = pictures(1)[:, None].expand(1, 2, 3, 32, 32)
    tokens = model.picture_tokens(clip)
    near(tokens[:, :16], model.picture_tokens(pictures(1)), 1e-12)
    assert not torch.allclose(tokens[:, :16], tokens[:, 16:])
    assert model.picture_tokens(clip[:, :1].expand(1, 12, 3, 32, 32)).shape == (1, 12 * 16, 16)
    moving = perceiver(replace(PATCHES, random_time=True)).train()
    drawn = {round(float(moving.picture_tokens(pictures(1)).detach()[0, 0, 0]), 9) for _ in range(40)}
    assert 4 < len(drawn) <= 8
    assert perceiver(SMALL).picture_tokens(pictures()[:, :, :17, :30]).shape == (3, 3 * 4, 16)
    for wrong in (torch.zeros(1, 3, 33, 32), torch.zeros(1, 1, 32, 32), torch.zeros(3, 32, 32)):
        with pytest.raises(InputSizeError, match="images are"):
            model.encode_pictures(wrong.double())


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
def test_the_contract_is_kept(config: UniPerceiverConfig) -> None:
    model = perceiver(config)
    model.set_drop_path_rate(0.25)
    assert {layer.drop_path.rate for layer in model.encoder.layers} == {0.25}
    model.set_drop_path_rate(0.0)
    names, layers = [name for name, _ in model.named_parameters()], model.layer_prefixes()
    assert all(any(name.startswith(layer) for name in names) for layer in layers)
    assert layers[-1] == (f"encoder.layers.{config.layers - 1}.",)
    assert set(model.encoder.layers) <= set(model.shardable())
    assert len(model.backbones()) == (config is SMALL)
    assert torch.equal(model.vectors(pictures())["pooled"], model.encode_pictures(pictures()))
    model.reset_classifier(0)
    with pytest.raises(ConfigError, match="no classifier to start anew for 3 classes; names of classes are words"):
        model.reset_classifier(3)
    model.take_channels(1)
    assert model.config.backbone.in_channels == 1
    assert model.encode_pictures(pictures()[:, :1]).shape == (3, 16)


def test_recomputing_changes_nothing() -> None:
    results = []
    for enabled in (False, True):
        model = perceiver(SMALL).train()
        model.set_gradient_checkpointing(enabled)
        sum(model.losses(pictures(), every_target()).values(), torch.zeros(())).backward()
        results.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert set(results[0]) == set(results[1])
    for name, grad in results[0].items():
        near(results[1][name], grad, 1e-10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 18}, "width is 18; expected a multiple of 4 and of the 2 heads"),
        ({"layers": 0}, "layers is 0; expected 1 or more"),
        ({"experts": 1}, "experts is 1; expected 2 or more, or 0"),
        ({"span": 0.0}, "span is 0"),
        ({"out_level": 0}, "out_level is 0; expected a stage of the backbone, which has 0"),
        ({"num_classes": 5}, "num_classes is 5; expected 0, a Uni-Perceiver has no classifier"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PATCHES, **changes)
    for wrong in ({"patch": 0}, {"image": 30}):
        with pytest.raises(ConfigError, match="expected 1 or more, and an image that is a multiple"):
            PatchConfig(**{"patch": 8, "image": 32, **wrong})
    with pytest.raises(ConfigError, match="vocabulary has 50000; expected ids of CLIP's words"):
        perceiver(replace(PATCHES, vocabulary=(50_000,)))


def test_recipes_are_models() -> None:
    sizes = {"uniperceiver_base": 124_606_475, "uniperceiver_moe_base": 422_518_283}
    for recipe in RECIPES:
        assert from_plain(UniPerceiverConfig, json.loads(json.dumps(asdict(recipe.config)))) == recipe.config
        if recipe.name in sizes:
            with torch.device("meta"):
                model = UniPerceiver(recipe.config)
            assert sum(one.numel() for one in model.parameters()) == sizes[recipe.name]
    with pytest.raises(CheckpointMismatchError, match="has no name in the official layout"):
        from_ours(perceiver(SMALL).state_dict(), "official", SMALL)


@pytest.mark.parametrize("experts", [0, 4])
def test_files_of_deepspeed_become_the_released_ones(experts: int, tmp_path: Path) -> None:
    """Scales are vectors, the type of pictures is in the bias, and nothing of another part remains."""
    config = replace(PATCHES, experts=experts, layer_scale=1e-3)
    state = perceiver(config).float().state_dict()
    names = from_ours(state, "official", config)
    expected = {theirs: state[ours] for ours, theirs in names.items()}
    expected |= {other: expected[theirs] for theirs, other in COPIES.items()}
    renamed = {
        "fused_encoder.": "encoder.",
        "loss_prepare.": "predictor.",
        "self_attn.qkv_proj": "attention.self.qkv_proj",
        "self_attn.dense": "attention.output.dense",
        "self_attn.in_proj_": "attention.self.qkv_proj.",
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "ffn.dense",
        "linear2": "ffn.dense2",
        "norm1": "LayerNormModules.0",
        "norm2": "LayerNormModules.1",
        "gamma_1": "attention_output.residual_scale",
        "gamma_2": "ffn_output.residual_scale",
        ".gate.": ".deepspeed_moe.gate.",
        ".experts.": ".deepspeed_moe.experts.",
    }
    given = {"visual_embed.weight": torch.zeros(2)}
    for name, tensor in expected.items():
        own = tensor[None, None] if "gamma" in name else tensor
        for new, old in renamed.items():
            name = name.replace(new, old)
        given[name] = own.half()
    given["video_embed.embeddings_type.weight"] = torch.full((1, 16), 0.5).half()
    found = from_deepspeed(given)
    assert set(found) == set(expected)
    bias = "video_embed.embeddings.bias"
    near(found[bias], expected[bias].half().float() + 0.5, 1e-6)
    for name in set(found) - {bias, "video_embed.embeddings_type.weight"}:
        assert torch.equal(found[name], expected[name].half().float()), name
    torch.save({"module": given, "dp_world_size": 8}, tmp_path / "mp_rank_00_model_states.pt")
    loaded = ii.create_model(config, checkpoint=tmp_path / "mp_rank_00_model_states.pt").state_dict()
    assert set(loaded) == set(names)
    for name, one in loaded.items():
        assert torch.equal(one, found[names[name]]), name
