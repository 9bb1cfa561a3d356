"""Text towers: any encoder or causal language model of transformers, as features of words and of sentences.

Captions are learnt and written with a table of who sees whom and with positions that repeat.  Not every kind of model
heeds both, and one that does not would be trained on words that it has seen; so that is tried before a model
is taken for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from internimage.errors import CheckpointReadError, ConfigError, MissingExtraError, UnsafeCheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TRIED = 4  # words of the trial
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # in RoBERTa's order


class TextTower(nn.Module):
    """A model that reads, with its tokeniser.

    Args:
        model: of ``transformers``, without a head.
        tokenizer: that belongs to it.
        causal: where that is known; None to try.

    Attributes:
        width: channels of the features.
        causal: whether a word sees only those before it, as in language models; found by trying.
        longest: greatest number of tokens; 512 of a model that sets no limit.
        mask_id: the token that stands for a word to be found; of a model without one, that which ends a text.
        end_id: the token that ends a text.

    Raises:
        ConfigError: the model takes more than words, or its tokeniser has no such tokens.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, causal: bool | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        settings = model.config
        self._first = settings.pad_token_id + 1 if _counts_from_padding(model) else 0
        self.width = int(settings.hidden_size)
        try:
            self.longest = int(settings.max_position_embeddings) - self._first
        except AttributeError:  # it counts distances instead
            self.longest = 512
        end = _first_of(tokenizer.sep_token_id, tokenizer.eos_token_id)
        mask = _first_of(tokenizer.mask_token_id, end)
        if mask is None or end is None:
            raise ConfigError(f"the tokeniser of {self.kind} ends no text: it has neither sep_token nor eos_token")
        self.mask_id, self.end_id = mask, end
        self._pad = _first_of(tokenizer.pad_token_id, end)
        self.causal = self._is_causal() if causal is None else causal

    @property
    def kind(self) -> str:
        """What ``transformers`` calls this kind of model, such as "roberta"."""
        return str(self.model.config.model_type)

    @classmethod
    def load(cls, source: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> Self:
        """A tower from a folder or from a name on the Hugging Face hub, in evaluation mode.

        Weights are read from safetensors; code that comes with a model is not run.

        Raises:
            MissingExtraError: transformers is not installed.
            CheckpointReadError: nothing is there, or it is damaged.
            UnsafeCheckpointError: the model is code of its own.
            ConfigError: see the class.
        """
        transformers = _transformers()
        name = os.fspath(source)
        try:
            model = transformers.AutoModel.from_pretrained(
                name, dtype=dtype, trust_remote_code=False, use_safetensors=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except Exception as error:  # transformers raises about any type there is
            raise refused(name, error, "a text model") from error
        return cls(model.eval(), tokenizer)

    @classmethod
    def anew(
        cls, size: int, tokenizer: Any, *, width: int, layers: int, heads: int, feed_forward: int, longest: int
    ) -> Self:
        """A RoBERTa with random weights.

        Args:
            size: of its vocabulary.
            tokenizer: anything that tells the special tokens.
            width, layers, heads, feed_forward, longest: of the network; ``longest`` tokens of a text.

        Raises:
            MissingExtraError: transformers is not installed.
        """
        transformers = _transformers()
        pad = int(tokenizer.pad_token_id)
        config = transformers.RobertaConfig(
            vocab_size=size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=feed_forward,
            max_position_embeddings=longest + pad + 1,
            pad_token_id=pad,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = transformers.RobertaModel(config, add_pooling_layer=False)
        return cls(model.eval(), tokenizer, causal=False)

    def description(self) -> str:
        """The network's configuration and the tokeniser as JSON: everything but the weights.

        Raises:
            ConfigError: the tokeniser is none of the fast ones, which alone can be written down.
        """
        if not self.tokenizer.is_fast:
            raise ConfigError(f"the tokeniser of {self.kind} is not a fast one; expected one with a tokenizer.json")
        special = {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()}
        content = {
            "config": self.model.config.to_dict(),
            "tokenizer": json.loads(self.tokenizer.backend_tokenizer.to_str()),
            "special": special,
        }
        return json.dumps(content, sort_keys=True)

    @classmethod
    def described(cls, description: str) -> Self:
        """A tower of :meth:`description`, with random weights.

        Raises:
            MissingExtraError: transformers is not installed.
            CheckpointReadError: it is no such description.
        """
        transformers = _transformers()
        try:
            content = json.loads(description)
            settings = dict(content["config"])
            config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
            model = transformers.AutoModel.from_config(config, trust_remote_code=False)
        except Exception as error:  # transformers raises about any type there is
            raise refused("the description of a text tower", error, "a text model") from error
        return cls(model.eval(), described_tokenizer(content))

    @classmethod
    def tiny(cls, words: Sequence[str], *, width: int = 64, layers: int = 2) -> Self:
        """A small RoBERTa with random weights that knows these words, of at most 64 tokens; for trials and tests.

        Raises:
            MissingExtraError: transformers is not installed.
        """
        transformers = _transformers()
        entries = [*_SPECIAL, *dict.fromkeys(words)]
        config = transformers.RobertaConfig(
            vocab_size=len(entries),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=2 * width,
            max_position_embeddings=66,
        )
        return cls(transformers.AutoModel.from_config(config).eval(), _word_tokenizer(entries))

    def tokens(self, texts: Sequence[str], longest: int | None = None) -> list[list[int]]:
        """Ids of each text with the tokeniser's own beginning and end; of one too long the last token stays."""
        most = min(longest or self.longest, self.longest)
        ids = self.tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
        return [one if len(one) <= most else [*one[: most - 1], one[-1]] for one in ids]

    def features(self, ids: Tensor, table: Tensor, positions: Tensor | None = None) -> Tensor:
        """Features of each token.

        Args:
            ids: (N, L) int64.
            table: (N, L, L) or (L, L) bool, whether the token of a row looks at that of a column; each looks at one at
                least.
            positions: (N, L) or (L,) int64 from 0; 0 to L - 1 if not given.

        Returns:
            (N, L, width), the model's last hidden states.

        Raises:
            ConfigError: there are more positions than the model has.
        """
        count, length = ids.shape
        if positions is None:
            positions = torch.arange(length, device=ids.device)
        if length > self.longest and int(positions.max()) >= self.longest:
            raise ConfigError(f"{length} tokens; this {self.kind} has positions for {self.longest}")
        dtype = self.model.dtype
        hidden = torch.zeros((), dtype=dtype, device=ids.device)
        mask = torch.where(table, hidden, torch.finfo(dtype).min).expand(count, length, length)[:, None]
        places = positions.expand(count, length) + self._first
        return self.model(input_ids=ids, attention_mask=mask, position_ids=places).last_hidden_state

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Features of whole texts: (N, width), of length 1.

        Of an encoder the mean over the tokens, of a causal model the last token, which alone has seen all others.
        """
        place = next(self.model.parameters()).device
        if not texts:
            return torch.zeros(0, self.width, device=place)
        tokens = self.tokens(texts)
        length = max(map(len, tokens))
        padded = [one + [self._pad] * (length - len(one)) for one in tokens]
        ids = torch.tensor(padded, device=place)
        lengths = torch.tensor([len(one) for one in tokens], device=place)
        real = torch.arange(length, device=place) < lengths[:, None]
        table = real[:, None] & torch.ones(length, length, dtype=torch.bool, device=place)
        if self.causal:
            table = table.tril()
        found = self.features(ids, table)
        if self.causal:
            whole = found[torch.arange(len(tokens), device=place), lengths - 1]
        else:
            whole = (found * real[..., None]).sum(1) / lengths[:, None]
        return nn.functional.normalize(whole.float(), dim=-1)

    def check_captions(self) -> None:
        """Try whether captions can be learnt with this model: it must heed the table and repeated positions.

        Raises:
            ConfigError: a word would be seen before it is to be found, or positions are not heeded.
        """
        reason = self._fault()
        if reason is not None:
            raise ConfigError(
                f"{self.kind} cannot describe pictures: {reason}; expected a kind such as roberta, bert, modernbert, "
                "qwen2, llama or gpt2"
            )

    @torch.no_grad()
    def _fault(self) -> str | None:
        n = _TRIED
        ids, table, positions = self._trial()
        try:
            before = self.features(ids, table, positions)
            moved = self.features(ids, table, positions.flip(0))
        except Exception as error:  # each kind says in its own way what it does not take
            return f"it takes no table of who sees whom, or no positions ({str(error).splitlines()[0][:120]})"
        if torch.equal(before, moved):
            return "it does not heed positions that are given"
        tolerance = 1e-4 * float(before.std())  # what is not looked at has a weight of exactly 0
        for k in range(n):
            other = ids.clone()
            other[0, k] = ids[0, k - 1]
            changed = (self.features(other, table, positions) - before).abs().amax((0, 2)) > tolerance
            rows = torch.arange(2 * n, device=ids.device)
            expected = torch.where(rows < n, rows >= k, rows - n > k)
            if not torch.equal(changed, expected):
                return "it does not heed the table of who sees whom"
        return None

    def _trial(self) -> tuple[Tensor, Tensor, Tensor]:
        """Four words that differ and a mask for each; the table and positions of a caption."""
        place = next(self.model.parameters()).device
        size, special = self.model.config.vocab_size, set(self.tokenizer.all_special_ids)
        known = [one for one in range(size) if one not in special]
        known = known[len(known) // 3 :: max(1, len(known) // 8)][:_TRIED]  # the first ones of many are never used
        ids = torch.tensor([[*known, *[self.mask_id] * len(known)]], device=place)
        return ids, caption_table(len(known)).to(place), torch.arange(len(known), device=place).repeat(2)

    @torch.no_grad()
    def _is_causal(self) -> bool:
        """Whether the first word is as it was when the last one changes, though it may look at it."""
        ids, _, _ = self._trial()
        training = self.model.training
        self.model.eval()
        try:
            one, other = (self.model(input_ids=words).last_hidden_state[0, 0] for words in (ids[:, :2], ids[:, [0, 2]]))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{self.kind} takes more than words: {error}; expected an encoder or a causal model"
            ) from error
        self.model.train(training)
        return bool(torch.equal(one, other))


def described_tokenizer(content: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokeniser of a tower's description, read from JSON."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(json.dumps(content["tokenizer"]))
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(tokenizer_object=backend, **content["special"])
    return tokenizer


def caption_table(words: int) -> Tensor:
    """Who sees whom in the text part of a caption: (2n, 2n) bool for n words and, after them, n masks.

    Word k sees words up to k; mask k, which is to become word k, sees the words before k and itself.
    """
    whole = torch.ones(words, words, dtype=torch.bool)
    none = torch.zeros_like(whole)
    return torch.cat([torch.cat([whole.tril(), none], 1), torch.cat([whole.tril(-1), torch.eye(words).bool()], 1)])


def refused(name: str, error: Exception, expected: str) -> Exception:
    """Our error for one that transformers raised while it read a model."""
    said = str(error).strip().split("\n")[0] or type(error).__name__
    if "trust_remote_code" in str(error):
        return UnsafeCheckpointError(
            f"{name} brings code of its own, which is not run; expected {expected} that transformers knows itself, of "
            "InternVL one whose name ends in -hf, such as OpenGVLab/InternVL3-1B-hf"
        )
    there = "" if Path(name).exists() else "; there is no such folder, and the hub gave nothing of that name"
    return CheckpointReadError(f"cannot read {name} as {expected}: {said}{there}")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("text models need transformers: pip install 'internimage[multimodal]'") from error
    return transformers


def _first_of(*ids: int | None) -> Any:
    return next((one for one in ids if one is not None), None)


def _counts_from_padding(model: PreTrainedModel) -> bool:
    """Whether positions begin after the number of the padding token, as in RoBERTa and its kin."""
    return any(
        isinstance(one, nn.Embedding) and one.padding_idx is not None
        for name, one in model.named_modules()
        if name.endswith("position_embeddings")
    )


def _word_tokenizer(entries: Sequence[str]) -> PreTrainedTokenizerBase:
    """One token a word, in lower case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate(entries)}
    words = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", numbers["<s>"]), ("</s>", numbers["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
