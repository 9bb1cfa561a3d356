"""Uni-Perceiver, plain and with experts: the numbers of the released code."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.goldens import near
from helpers.perceivers import Goldens, released
from torch import Tensor

from internimage.checkpoints.layouts import from_ours, layout_of, to_ours
from internimage.multimodal.models.uniperceiver import UniPerceiver
from internimage.multimodal.names.uniperceiver import COPIES
from internimage.multimodal.recipes import RECIPES
from internimage.multimodal.sequences.embeddings import fixed_positions
from internimage.multimodal.sequences.experts import Decision, ExpertLinear
from internimage.multimodal.sequences.kinds import CAPTION_PICTURE, CAPTION_TEXT, NAME, PICTURE, TEXT, WORD, Kind
from internimage.multimodal.sequences.losses import named_loss, pair_loss
from internimage.multimodal.sequences.sight import caption_table
from internimage.multimodal.words.beams import Decoding, write

pytestmark = pytest.mark.full
TOLERANCE = {"uniperceiver": 1e-9, "uniperceiver_moe": 2e-5}  # the released gates are in float32


@pytest.fixture(params=list(TOLERANCE))
def case(request: pytest.FixtureRequest, shared: Path) -> tuple[Goldens, UniPerceiver, dict[str, str], float]:
    goldens = Goldens(shared, request.param)
    return goldens, *released(goldens, experts=8 * (request.param == "uniperceiver_moe")), TOLERANCE[request.param]


def words(model: UniPerceiver, ids: Tensor) -> Tensor:
    """What the released code calls the vocabulary: some words."""
    return model.encode_texts([[one, 49407] for one in ids.tolist()], WORD)


def raw(model: UniPerceiver, outputs: Tensor) -> Tensor:
    """Features before they have length 1, as they are stored."""
    return model.likelihood.project(model.likelihood.norm(outputs))


def same_gradients(goldens: Goldens, model: UniPerceiver, names: dict[str, str], task: str, loss: Tensor) -> None:
    """Norms of the gradients of every parameter; none where the released code has none."""
    loss.backward()
    norms = {
        key.removeprefix(f"{task}.grad_norm."): float(goldens[key])
        for key in goldens.arrays
        if ".grad_norm." in key and key.startswith(f"{task}.")
    }
    assert norms
    found = {names[name]: one.grad for name, one in model.named_parameters() if one.grad is not None}
    for name, norm in norms.items():
        grad = found.pop(name, torch.zeros(1))
        assert float(grad.norm()) == pytest.approx(norm, rel=2e-4 if model.config.experts else 1e-7, abs=1e-9), name
    assert not [name for name, grad in found.items() if grad.any()]


def test_classification_is_the_released_code_s(case: Any) -> None:
    goldens, model, names, bound = case
    classes = goldens.texts("classes")
    states = model.picture_states(model.picture_tokens(goldens.given("cls.images", (3, 3, 48, 48))))
    near(states.outputs, goldens["cls.encoder"], bound)
    outputs, present = model.text_states(classes)
    assert torch.equal(present, goldens["cls.target_padding"] == 0)
    near(outputs[present], goldens["cls.target_encoder"][present], bound)
    near(raw(model, states.outputs[:, 0]), goldens["cls.features"], bound)
    logits = model.likelihood.logits(
        "img_cls", model.likelihood.features(states.outputs[:, 0]), model.encode_texts(classes)
    )
    near(logits, goldens["cls.logits"], 10 * bound)
    near(named_loss(logits, goldens["cls.soft_targets"]), goldens["cls.loss_soft"][0], 10 * bound)
    loss = named_loss(logits, goldens["cls.labels"])
    near(loss, goldens["cls.loss_label_smoothing"][0], 10 * bound)
    same_gradients(goldens, model, names, "cls", loss)


@torch.no_grad()
def test_clips_are_the_released_code_s(case: Any) -> None:
    goldens, model, _, bound = case
    clips = goldens.given("video.clips", (2, 3, 3, 48, 48))
    near(model.picture_states(model.picture_tokens(clips)).outputs, goldens["video.encoder"], bound)
    found = model.likelihood.logits(
        "video_cls", model.encode_pictures(clips), model.encode_texts(goldens.texts("classes"))
    )
    near(found, goldens["video.logits"], 10 * bound)
    found = torch.stack(
        [
            model.likelihood.scale(one)
            for one in (
                "img_cls",
                "img_cls",
                "video_cls",
                "text_mlm",
                "caption",
                "retrieve",
                "downstream",
                "downstream",
            )
        ]
    )
    near(found, goldens["temperatures"], 1e-5)


def test_masked_words_are_the_released_code_s(case: Any) -> None:
    goldens, model, names, bound = case
    outputs, _ = model.text_states(goldens["mlm.tokens"].tolist(), TEXT)
    near(outputs, goldens["mlm.encoder"], bound)
    ids = goldens["vocab_ids"]
    spe = model.text_states([[one, 49407] for one in ids.tolist()], WORD)[0][:, 0]
    near(spe, goldens["mlm.vocab_encoder_spe"], bound)
    guessed = outputs[:, 1:][goldens["mlm.labels"] >= 0]
    near(raw(model, guessed), goldens["mlm.features"], bound)
    logits = model.likelihood.logits("text_mlm", model.likelihood.features(guessed), model.likelihood.features(spe))
    near(logits, goldens["mlm.logits"], 10 * bound)
    loss = torch.nn.functional.cross_entropy(logits, goldens["mlm.targets"])
    near(loss, goldens["mlm.loss"][0], 10 * bound)
    same_gradients(goldens, model, names, "mlm", loss)


def test_retrieval_is_the_released_code_s(case: Any) -> None:
    goldens, model, names, bound = case
    states = model.picture_states(model.picture_tokens(goldens.given("retrieval.images", (4, 3, 48, 48)))).outputs[:, 0]
    texts, present = model.text_states(goldens.texts("retrieval.text"))
    assert torch.equal(present, goldens["retrieval.text_padding"] == 0)
    near(texts[present], goldens["retrieval.text_encoder"][present], bound)
    features = model.likelihood.features
    near(features(states), goldens["retrieval.image_features"], bound)
    near(features(texts[:, 0]), goldens["retrieval.text_features"], bound)
    logits = model.likelihood.logits("retrieve", features(states), features(texts[:, 0]))
    near(logits, goldens["retrieval.logits_i2t"], 10 * bound)
    near(logits.T, goldens["retrieval.logits_t2i"], 10 * bound)
    there, back = pair_loss(logits), pair_loss(logits.T)
    near(there, goldens["retrieval.loss_i2t"][0], 10 * bound)
    near(back, goldens["retrieval.loss_t2i"][0], 10 * bound)
    same_gradients(goldens, model, names, "retrieval", there + back)


def test_captions_in_training_are_the_released_code_s(case: Any) -> None:
    goldens, model, names, bound = case
    prefix = model.prefix(goldens.given("caption.images", (3, 3, 48, 48)))
    outputs, _, present = model.caption_states(prefix, goldens.texts("caption.tokens"))
    whole = torch.cat([prefix.outputs, outputs], dim=1)
    counted = torch.cat([torch.ones(3, 10, dtype=torch.bool), present, present], dim=1)
    assert torch.equal(counted, goldens["caption.padding"] == 0)
    near(whole[counted], goldens["caption.encoder"][counted], bound)
    written = outputs[:, present.shape[1] :][present]
    near(raw(model, written), goldens["caption.features"], bound)
    spe = model.text_states([[one, 49407] for one in goldens["vocab_ids"].tolist()], WORD)[0][:, 0]
    near(spe, goldens["caption.vocab_encoder_spe"], bound)
    logits = model.likelihood.logits("caption", model.likelihood.features(written), model.likelihood.features(spe))
    near(logits, goldens["caption.logits"], 10 * bound)
    loss = torch.nn.functional.cross_entropy(logits, goldens["caption.targets"])
    near(loss, goldens["caption.loss"][0], 10 * bound)
    assert goldens["caption.targets"].tolist() == [one for text in goldens.texts("caption.labels") for one in text]
    same_gradients(goldens, model, names, "caption", loss)


@torch.no_grad()
def test_captions_word_by_word_are_the_released_code_s(case: Any) -> None:
    """The inputs of every layer, and what is written after each of three given words."""
    goldens, model, _, bound = case
    seen: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in model.encoder.layers]
    prefix = model.prefix(goldens.given("caption.images", (3, 3, 48, 48)))
    for number, state in enumerate([*seen, prefix.outputs]):
        near(state, goldens[f"caption_step.prefix_state.{number}"], bound)
    for hook in hooks:
        hook.remove()
    outputs: list[Tensor] = []
    model.likelihood.norm.register_forward_pre_hook(lambda _, given: outputs.append(given[0]))
    vocabulary = words(model, goldens["vocab_ids"])
    writer = model.writer(prefix, vocabulary)
    tokens = goldens.texts("caption.tokens")
    for step in range(4):
        given = torch.tensor([text[step - 1] for text in tokens]) if step else None
        logits = writer(given, torch.arange(3) if step else None)
        near(outputs[-1][:, None], goldens[f"caption_step.{step}.encoder"], bound)
        near(logits, goldens[f"caption_step.{step}.logits"], 10 * bound)


@torch.no_grad()
def test_beams_are_the_released_code_s(case: Any) -> None:
    goldens, model, _, bound = case
    prefix = model.prefix(goldens.given("caption.images", (3, 3, 48, 48)))
    vocabulary, end = words(model, torch.arange(60)), int(goldens["beam.eos"])
    free = write(model.writer(prefix, vocabulary), -1, Decoding(beams=1, steps=6))
    assert torch.equal(free.words, goldens["beam.free_greedy"])
    for beams in (1, 2, 3):
        for penalty in (0, 2):
            written = write(model.writer(prefix, vocabulary), end, Decoding(beams, 6, penalty))
            missing = 6 - written.words.shape[1]  # all had ended
            name = f"beam.{beams}.penalty{penalty}"
            found = torch.nn.functional.pad(written.words, (0, missing), value=end)
            assert torch.equal(found, goldens[f"{name}.ids"]), name
            found = torch.nn.functional.pad(written.log_probabilities, (0, missing))
            near(found, goldens[f"{name}.logprob"], 10 * bound)


def test_questions_are_the_released_code_s(shared: Path) -> None:
    goldens = Goldens(shared, "uniperceiver")
    model, names = released(goldens, experts=0)
    images = goldens.given("vqa.images", (3, 3, 48, 48))
    questions = [[one for one in text if one != 49410] for text in goldens.texts("vqa.tokens")]
    kept: list[Tensor] = []
    hook = model.encoder.register_forward_hook(lambda _, __, result: kept.append(result[0]))
    inner: list[Tensor] = []
    model.likelihood.norm.register_forward_pre_hook(lambda _, given: inner.append(given[0]))
    logits = model.answer(model.picture_tokens(images), questions, model.encode_texts(goldens.texts("answers"), WORD))
    hook.remove()
    present = goldens["vqa.padding"] == 0
    near(kept[-1][present], goldens["vqa.encoder"][present], 1e-9)
    near(raw(model, inner[1]), goldens["vqa.features"], 1e-9)
    near(logits, goldens["vqa.logits"], 1e-8)
    loss = torch.nn.functional.cross_entropy(logits, goldens["vqa.labels"])
    near(loss, goldens["vqa.loss"][0], 1e-8)
    model.zero_grad()
    same_gradients(goldens, model, names, "vqa", loss)


@torch.no_grad()
def test_texts_are_classified_as_by_the_released_code(case: Any) -> None:
    goldens, model, _, bound = case
    outputs, _ = model.text_states(goldens.texts("textcls.tokens"), TEXT)
    at = outputs[torch.arange(2), 1 + goldens["textcls.spe_index"]]
    near(raw(model, at), goldens["textcls.features"], bound)
    targets = model.encode_texts(goldens.texts("classes")[:3], WORD)
    near(
        model.likelihood.logits("downstream", model.likelihood.features(at), targets),
        goldens["textcls.logits"],
        10 * bound,
    )


def test_tables_are_the_released_code_s(shared: Path) -> None:
    """Who sees whom, and the fixed positions."""
    goldens, parts = Goldens(shared, "uniperceiver"), Goldens(shared, "v2_parts")
    for tokens, count in ((4, 1), (9, 3), (4, 6)):
        expected = ~goldens[f"mask.spe1_image{tokens}_words{count}"]
        assert torch.equal(caption_table(1 + tokens, count), expected[1 + tokens :])
        assert expected[: 1 + tokens, : 1 + tokens].all()
        assert not expected[: 1 + tokens, 1 + tokens :].any()
    assert goldens["position.caption_words4"].tolist() == [0, 1, 2, 3] * 2
    for scale, factor in (("1", 1.0), ("0.714", 160 / 224)):
        near(fixed_positions(4, 4, 32, factor), parts[f"v1_spatial.scale{scale}"], 2e-7)


@pytest.mark.parametrize("name", ["image", "text", "target", "vocabulary", "caption"])
def test_a_conditional_layer_is_the_released_code_s(shared: Path, name: str) -> None:
    """Output, experts, their weights and all gradients; those of experts that were not asked are none."""
    goldens = Goldens(shared, "moe_layer")
    layer = ExpertLinear(16, 24, 8, 16).eval()
    renamed = (
        ("embed", "tag_transform.0"),
        ("gate.norm", "gate.tag_transform.1"),
        ("score", "wg"),
        ("experts.", "experts.deepspeed_experts."),
    )
    names = {ours: ours for ours in layer.state_dict()}
    for old, new in renamed:
        names = {ours: theirs.replace(old, new) for ours, theirs in names.items()}
    state = layer.state_dict()
    assert {theirs: list(state[ours].shape) for ours, theirs in names.items()} == {
        key.removeprefix("shape."): goldens[key].tolist() for key in goldens.arrays if key.startswith("shape.")
    }
    goldens.law.fill_state_dict({theirs: state[ours] for ours, theirs in names.items()})
    layer.double()
    bits = ["".join(str(int(bit)) for bit in row) for row in goldens[f"{name}.attributes"]]
    decision = layer.decide(Kind(*bits), 4)
    assert isinstance(decision, Decision)
    choices = [one for one in (decision.choice, decision.rest) if one is not None]
    assert [list(one.experts) for one in choices] == goldens[f"{name}.experts"].T.tolist()
    near(torch.stack([one.weights for one in choices], 1), goldens[f"{name}.gates"], 1e-6)
    x = goldens.given(f"moe.x.{name}", (2, 7, 16)).requires_grad_()
    output = layer(x, decision)
    near(output, goldens[f"{name}.output"], 2e-5)
    (output * goldens.given(f"moe.cotangent.{name}", (2, 7, 24))).sum().backward()
    near(x.grad, goldens[f"{name}.grad_input"], 2e-5)
    found = {names[ours]: one.grad for ours, one in layer.named_parameters() if one.grad is not None}
    stored = {key.split(".grad.")[1] for key in goldens.arrays if key.startswith(f"{name}.grad.")}
    assert set(found) == stored
    for key in stored:
        near(found[key], goldens[f"{name}.grad.{key}"], 5e-5)


def test_experts_of_the_model_are_the_released_code_s(shared: Path) -> None:
    """For every kind of sequence; the gates that nobody asks among them."""
    goldens = Goldens(shared, "uniperceiver_moe")
    model, _ = released(goldens, experts=8)
    released_kinds = {
        "".join(str(int(bit)) for bit in row)
        for key in goldens.arrays
        if key.startswith("attributes.")
        for row in goldens[key]
    }
    assert released_kinds == {one.bits for one in (PICTURE, NAME, CAPTION_PICTURE, CAPTION_TEXT, TEXT, WORD)}
    parts = {"self_attn.qkv_proj": "qkv", "self_attn.dense": "output", "linear1": "linear1", "linear2": "linear2"}
    keys = [
        key.removesuffix(".experts") for key in goldens.arrays if key.startswith("gates.") and key.endswith(".experts")
    ]
    assert len(keys) == 2 * 4 * len(released_kinds)
    for key in keys:
        _, bits, layer, part = key.split(".", 3)
        choice = getattr(model.encoder.layers[int(layer.removeprefix("layer"))], parts[part]).gate(bits)
        assert list(choice.experts) == goldens[f"{key}.experts"][:, 0].tolist()
        near(choice.weights, goldens[f"{key}.gates"][:, 0], 1e-6)


@pytest.mark.parametrize("name", ["base", "large", "moe_base", "moe_large"])
def test_tensors_are_the_released_files_(shared: Path, name: str) -> None:
    """Every key with its shape, and none besides; both ways."""
    recipe = next(one for one in RECIPES if one.name == f"uniperceiver_{name}")
    with torch.device("meta"):
        model = UniPerceiver(recipe.config)
    content = json.loads((shared / f"goldens/multimodal/manifest_uniperceiver_{name}.json").read_text())
    keys, state = content["state_dict"], model.state_dict()
    names = from_ours(state, "official", model.config)
    found = {theirs: list(state[ours].shape) for ours, theirs in names.items()}
    found |= {other: found[theirs] for theirs, other in COPIES.items()}
    assert found == {key: shape for key, (shape, _, _) in keys.items()}
    assert layout_of(keys) == "official"
    assert set(to_ours(keys, "official", model.config).values()) == set(names)
    assert len(to_ours(keys, "official", model.config)) == len(keys)
    assert sum(one.numel() for one in state.values()) == content["total_parameters"]
    moe = [number for number, layer in enumerate(model.encoder.layers) if isinstance(layer.qkv, ExpertLinear)]
    assert moe == content["moe_layers"]
