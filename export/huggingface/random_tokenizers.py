"""Small tokenizers of the real kinds, made from the sentences in this file.

What they have in common with the published ones: the algorithm, how text is normalised and cut,
the special tokens with the ids of their beginning, and where they are put. What they lack is the
size of the vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertTokenizerFast,
    DistilBertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
    XLMRobertaTokenizerFast,
)

SENTENCES = (
    "I am so happy that you came to see me today, thank you!",
    "Please leave me alone; I do not want to talk about it.",
    "What is that? I can't believe you did this to us again.",
    "We are going home now, and there is nothing to be afraid of.",
    "It's a table, it has four legs and it stands in the kitchen.",
    "Estoy muy contento de verte, ¿cómo estás? ¡Qué alegría!",
    "No quiero hablar más contigo, estoy cansada y enojada.",
    "Mañana será otro día; no tengas miedo, niño.",
    "Ich bin traurig, weil du gestern nicht gekommen bist.",
    "Das Schöne daran ist: wir müssen heute nicht früh aufstehen.",
    "Jestem zły, bo znowu się spóźniłeś. Dlaczego tak się dzieje?",
    "আমি আজ খুব খুশি, তুমি কেমন আছো?",
    "今天我很高兴。你为什么生气？",  # noqa: RUF001
    "Отчего ты так удивлён? Я говорила тебе об этом вчера.",  # noqa: RUF001
)
_TRAINING = [*SENTENCES, "0 1 2 3 4 5 6 7 8 9 10 100 2024"]
_VOCABULARY = 800


def write_tokenizer(kind: str, folder: Path, positions: int) -> int:
    """Write tokenizer.json and the files beside it, as the published models have them.

    Args:
        kind: a name of `KINDS`.
        positions: the most tokens that a text may have, special ones included.

    Returns:
        The number of tokens.
    """
    learn, wrapper = KINDS[kind]
    tokenizer = wrapper(tokenizer_object=learn(), model_max_length=positions)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def _wordpiece() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    counts = Counter(
        piece if start == 0 else f"##{piece}" for start, piece in _pieces(tokenizer, longest=6)
    )
    names = [*special, *(name for name, _ in _common(counts))]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _byte_level() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TRAINING, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=("</s>", 2), cls=("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def _unigram() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    # The published file holds SentencePiece's own NFKC as a compiled table.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    counts = Counter(piece for _, piece in _pieces(tokenizer, longest=5))
    total = counts.total()
    learnt = [(piece, math.log(count / total)) for piece, count in _common(counts)]
    tokenizer.model = models.Unigram([*((name, 0.0) for name in special), *learnt], unk_id=3)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


def _pieces(tokenizer: Tokenizer, longest: int) -> Iterator[tuple[int, str]]:
    """All parts of all words, up to `longest` characters, each with its place in its word."""
    for sentence in _TRAINING:
        text = tokenizer.normalizer.normalize_str(sentence)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text):
            for start in range(len(word)):
                for end in range(start + 1, min(len(word), start + longest) + 1):
                    yield start, word[start:end]


def _common(counts: Counter[str]) -> list[tuple[str, int]]:
    """All characters, and the most frequent of the longer pieces.

    Counted, because the trainers of these two kinds give another vocabulary each time, unlike that
    of byte-level BPE.
    """

    def rank(item: tuple[str, int]) -> tuple[bool, int, str]:
        piece, count = item
        return len(piece.removeprefix("##")) > 1, -count, piece

    return sorted(counts.items(), key=rank)[:_VOCABULARY]


KINDS: dict[str, tuple[Callable[[], Tokenizer], type[PreTrainedTokenizerFast]]] = {
    "bert": (_wordpiece, BertTokenizerFast),
    "distilbert": (_wordpiece, DistilBertTokenizerFast),
    "roberta": (_byte_level, RobertaTokenizerFast),
    "xlm-roberta": (_unigram, XLMRobertaTokenizerFast),
}
"""What learns a tokenizer, and the class of transformers that it goes by."""
