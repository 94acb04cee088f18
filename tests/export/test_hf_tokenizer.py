"""The runtime's token ids are those of transformers, for any text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("transformers", reason="transformers is not installed")

from transformers import AutoTokenizer

from realtime_ser.models.bundle_description import TextPart
from realtime_ser.models.text import TextExpert
from realtime_ser_export.errors import ExportError
from realtime_ser_export.huggingface.tokenizer import TextTokenizer, load_tokenizer

FAMILIES = ("distilbert", "bert", "roberta", "xlm-roberta", "minilm")
MAX_TOKENS = 24
Folder = Callable[..., Path]


class Recorder:
    """A graph that remembers what it was fed with."""

    def run(self, feeds: Any) -> dict[str, Any]:
        self.feeds = feeds
        return {}


def served(tokenizer: TextTokenizer, path: Path) -> TextExpert:
    """The runtime's own expert, with what was written for it."""
    tokenizer.save(path)
    part = TextPart(
        name="text",
        file="",
        parameters=None,
        precision=None,
        inputs=(),
        outputs=(),
        tokenizer=path.name,
        max_tokens=tokenizer.max_tokens,
        pad_id=tokenizer.pad_id,
    )
    graph: Any = Recorder()
    return TextExpert(part, graph, path, ())


def feed(expert: TextExpert, texts: list[str]) -> Any:
    expert.run(texts)
    graph: Any = expert._graph
    return graph.feeds


@pytest.fixture(scope="session")
def pair(random_folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Of a family: the tokenizer as transformers loads it, and the runtime's expert."""

    @cache
    def build(family: str) -> Any:
        folder = random_folder(family)
        tokenizer = load_tokenizer(folder, 128, MAX_TOKENS)
        expert = served(tokenizer, tmp_path_factory.mktemp("served") / "tokenizer.json")
        return AutoTokenizer.from_pretrained(folder), expert

    return build


@pytest.mark.parametrize("family", FAMILIES)
@example(texts=["", "a"])
@example(texts=[" "])
@example(texts=["word " * 100, "and"])
@example(texts=["<s> [CLS] <mask> [MASK] </s> [SEP] <pad> [PAD] <unk>"])
@example(texts=["  two  spaces\u00a0and\ttabs\r\n\x00\ufffd "])
@example(texts=["ÀÉÎ e\u0301 ﬁ ½ 𝓪 안녕 👩‍👩‍👧 \u200b \u202e"])  # noqa: RUF001
@given(texts=st.lists(st.text(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_runtime_reads_what_transformers_reads(
    pair: Callable[..., Any], family: str, texts: list[str]
) -> None:
    original, expert = pair(family)
    truth = original(
        texts, truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="np"
    )
    feeds = feed(expert, texts)
    np.testing.assert_array_equal(feeds["input_ids"], truth["input_ids"])
    np.testing.assert_array_equal(feeds["attention_mask"], truth["attention_mask"])
    assert feeds["input_ids"].shape[1] <= MAX_TOKENS


@pytest.mark.parametrize(
    ("family", "pad", "begin", "end"),
    [
        ("distilbert", 0, "[CLS]", "[SEP]"),
        ("bert", 0, "[CLS]", "[SEP]"),
        ("roberta", 1, "<s>", "</s>"),
        ("xlm-roberta", 1, "<s>", "</s>"),
    ],
)
def test_special_tokens(
    pair: Callable[..., Any], family: str, pad: int, begin: str, end: str
) -> None:
    original, expert = pair(family)
    feeds = feed(expert, ["I am so happy", ""])
    first, second = feeds["input_ids"].tolist()
    ids = original.convert_tokens_to_ids([begin, end])
    assert [first[0], first[-1]] == ids
    assert second == [*ids, *[pad] * (len(first) - 2)]
    assert feeds["attention_mask"][1].tolist() == [1, 1, *[0] * (len(first) - 2)]


def test_a_cut_text_still_ends_as_texts_end(pair: Callable[..., Any]) -> None:
    original, expert = pair("roberta")
    row = feed(expert, ["so happy " * 100])["input_ids"][0]
    assert len(row) == MAX_TOKENS
    assert row[-1] == original.eos_token_id


# Folders without tokenizer.json


def without(folder: Path, tmp_path: Path, *names: str) -> Path:
    copy = tmp_path / "old"
    shutil.copytree(folder, copy)
    for name in names:
        (copy / name).unlink(missing_ok=True)
    return copy


@pytest.mark.parametrize(("family", "source"), [("bert", "vocab.txt"), ("roberta", "merges.txt")])
def test_a_vocabulary_is_converted(
    random_folder: Folder, tmp_path: Path, family: str, source: str
) -> None:
    whole = random_folder(family)
    old = without(whole, tmp_path, "tokenizer.json")
    assert (old / source).is_file()
    expert = served(load_tokenizer(old, 128), tmp_path / "tokenizer.json")
    for text in ("I can't believe it!", "¿Qué? ¡No!", "", "Zażółć <unk>"):
        truth = AutoTokenizer.from_pretrained(whole)(text)["input_ids"]
        assert feed(expert, [text])["input_ids"][0].tolist() == truth


def test_case_is_kept_where_the_model_says_so(random_folder: Folder, tmp_path: Path) -> None:
    old = without(random_folder("bert"), tmp_path, "tokenizer.json")
    path = old / "tokenizer_config.json"
    read = [feed(served(load_tokenizer(old, 128), tmp_path / "1"), ["Hab MÜDE"])]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
    read.append(feed(served(load_tokenizer(old, 128), tmp_path / "2"), ["Hab MÜDE"]))
    lower, cased = (each["input_ids"][0].tolist() for each in read)
    assert lower != cased
    assert cased == AutoTokenizer.from_pretrained(old)("Hab MÜDE")["input_ids"]


def test_a_sentencepiece_model_is_converted(random_folder: Folder, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    from realtime_ser_export.huggingface.random_tokenizers import SENTENCES

    whole = random_folder("xlm-roberta")
    old = without(whole, tmp_path, "tokenizer.json")
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(old / "sentencepiece.bpe"),
        vocab_size=180,
        minloglevel=2,
    )
    expert = served(load_tokenizer(old, 128), tmp_path / "tokenizer.json")
    slow = AutoTokenizer.from_pretrained(old, use_fast=False)
    for text in ("I can't believe it!", "¿Qué? ¡No!", "", "ﬁ  two", "今天我很高兴"):
        assert feed(expert, [text])["input_ids"][0].tolist() == slow(text)["input_ids"]


def test_a_tokenizer_that_is_not_there(random_folder: Folder, tmp_path: Path) -> None:
    old = without(random_folder("bert"), tmp_path, "tokenizer.json", "vocab.txt")
    with pytest.raises(ExportError, match=r"old: its tokenizer does not load .*tokenizer\.json"):
        load_tokenizer(old, 128)


def test_a_broken_tokenizer(random_folder: Folder, tmp_path: Path) -> None:
    old = without(random_folder("roberta"), tmp_path)
    (old / "tokenizer.json").write_text("{}")
    with pytest.raises(ExportError, match=r"its tokenizer does not load"):
        load_tokenizer(old, 128)


def test_code_of_the_repository_is_not_run(random_folder: Folder, tmp_path: Path) -> None:
    old = without(random_folder("bert"), tmp_path)
    (old / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    path = old / "tokenizer_config.json"
    own = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    with pytest.raises(ExportError, match=r"its tokenizer does not load"):
        load_tokenizer(old, 128)
    assert not (tmp_path / "ran").exists()


# Lengths


@pytest.mark.parametrize(
    ("wanted", "given_up"), [(None, 128), (3, 3), (128, 128), (2, None), (0, None), (129, None)]
)
def test_how_long_a_text_may_be(
    random_folder: Folder, wanted: int | None, given_up: int | None
) -> None:
    folder = random_folder("roberta")
    if given_up is None:
        with pytest.raises(ExportError, match=r"it takes 3 to 128 tokens, of which 2 mark"):
            load_tokenizer(folder, 128, wanted)
    else:
        assert load_tokenizer(folder, 128, wanted).max_tokens == given_up


def test_the_shorter_of_two_limits_holds(random_folder: Folder) -> None:
    assert load_tokenizer(random_folder("bert"), 100).max_tokens == 100
    assert load_tokenizer(random_folder("bert"), 1000).max_tokens == 128


def test_settings_of_training_are_not_written(random_folder: Folder, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(random_folder("bert"), 128, 8)
    tokenizer.encode_original("this sets the truncation of the tokenizer inside")
    tokenizer.save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["truncation"] is None
    assert content["padding"] is None
