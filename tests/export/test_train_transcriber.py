"""A small Whisper on made-up sounds: trained, resumed, converted, and loaded like any other."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install '.[export]'")
pytest.importorskip("jiwer", reason="jiwer is not installed: pip install '.[export]'")

import soundfile
import torch
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer as ServedTokenizer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from realtime_ser.models.text_gates import DropReason
from realtime_ser.models.transcriber import load_transcriber
from realtime_ser_export.speech.audio_cache import open_cache
from realtime_ser_export.transcriber.acting import Acting
from realtime_ser_export.transcriber.log_mel import (
    BANDS,
    FRAMES_PER_SECOND,
    Augmentation,
    augmented,
    feature_extractor,
    log_mel,
    mixed_style,
    open_features,
    power,
)
from realtime_ser_export.transcriber.small_whisper import (
    WhisperSizes,
    build_network,
    token_id,
    train_tokenizer,
    write_folder,
    write_profile,
)
from realtime_ser_export.transcriber.text_batches import (
    IGNORED,
    Mixture,
    TextBatchMaker,
    sampling_weights,
)
from realtime_ser_export.transcriber.train_transcriber import (
    TranscriberConfig,
    load_best,
    train,
)
from realtime_ser_export.transcriber.transcripts import Recording, read_recordings
from realtime_ser_export.transcriber.word_errors import (
    choose_gates,
    gates_that_keep,
    hear,
    measure,
    sounds_of,
    write_figures,
)

SENTENCES = ("Turn on the light.", "Ist das - sagen wir - gut?", "Żółw śpi; 'cicho'.")
TINY = WhisperSizes(width=32, heads=2, encoder_layers=1, decoder_layers=1, text_tokens=300)
CONFIG = TranscriberConfig(
    batch_size=4,
    warmup_steps=2,
    decay_share=0.0,
    evaluate_every=8,
    save_every=8,
    window_s=3,
    mixture=Mixture(no_voice=0.1, unknown_speech=0.2, padded=0.0, noise_sounds=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 sounds of 0.8 s by six speakers: each sentence a chord of its own."""
    place = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    time = np.arange(12_800) / 16_000
    with (place / "transcripts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "text", "split", "speaker", "language"])
        for i in range(18):
            sound = np.sin(2 * np.pi * (300 + 700 * (i % 3)) * time) * rng.uniform(0.1, 0.5)
            soundfile.write(place / f"{i}.wav", sound + 0.01 * rng.standard_normal(12_800), 16_000)
            split = ("train", "train", "train", "train", "dev", "test")[i // 3]
            language = ("en", "de", "pl")[i % 3]
            table.writerow([f"{i}.wav", SENTENCES[i % 3], split, f"s{i // 3}", language])
    return place


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 16 steps."""
    place = tmp_path_factory.mktemp("trained")
    run(folder, place, 16)
    return place


@pytest.fixture(scope="module")
def written(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run as a folder for --asr."""
    network, tokenizer, _ = load_best(trained)
    out = tmp_path_factory.mktemp("written") / "mini"
    profile = {"description": "three sentences", "gates": {"min_avg_logprob": -0.01}}
    return write_folder(network, tokenizer, out, window_s=3, profile=profile)


def run(folder: Path, place: Path, steps: int, score: float | None = None, **options: Any) -> None:
    recordings = read_recordings(folder)
    features = open_features(folder / "cache", [each.path for each in recordings])
    config = replace(CONFIG, steps=steps, **options)
    score = 1.0 / steps if score is None else score
    train(recordings, features, place, TINY, config, lambda network, tokenizer: score)


def test_a_resumed_run_continues(folder: Path, trained: Path, tmp_path: Path) -> None:
    for steps in (8, 16):
        run(folder, tmp_path, steps)
        assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == steps
    whole = torch.load(trained / "last.pt", weights_only=True)["average"]
    parts = torch.load(tmp_path / "last.pt", weights_only=True)["average"]
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [8, 16]


def test_a_run_that_goes_on_elsewhere_is_judged_anew(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    for name in ("last.pt", "tokenizer.json"):
        shutil.copy(trained / name, tmp_path)
    run(folder, tmp_path, 24, score=0.9)
    assert load_best(tmp_path)[2]["step"] == 24


def test_a_teacher_is_foretold_and_the_run_goes_on(
    folder: Path, tmp_path: Path, random_folder: Callable[..., Path]
) -> None:
    teacher = random_folder(
        "whisper", utterance_only=True, encoder_layers=3, d_model=64, max_source_positions=200
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(folder, whole, 16, teacher=str(teacher))
    for steps in (8, 16):
        run(folder, parts, steps, teacher=str(teacher))
    states = [torch.load(each / "last.pt", weights_only=True) for each in (whole, parts)]
    for name, value in states[0]["hints"].items():
        assert torch.equal(value, states[1]["hints"][name]), name
    lines = [json.loads(line) for line in (whole / "history.jsonl").read_text().splitlines()]
    assert lines[0]["hint_loss"] > lines[-1]["hint_loss"] > 0


def test_it_learns(folder: Path, trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_faster_whisper_loads_it_like_any_other(folder: Path, written: Path) -> None:
    names = {"model.bin", "config.json", "tokenizer.json", "preprocessor_config.json"}
    assert names <= {file.name for file in written.iterdir()}
    model = WhisperModel(str(written), device="cpu", compute_type="int8", cpu_threads=1)
    assert model.model.is_multilingual
    assert model.feature_extractor.chunk_length == 3
    tokenizer = ServedTokenizer(model.hf_tokenizer, True, task="transcribe", language="pl")
    for token in (tokenizer.sot, tokenizer.eot, tokenizer.no_speech, tokenizer.sot_prev):
        assert model.hf_tokenizer.id_to_token(token).startswith("<|")
    assert model.hf_tokenizer.id_to_token(tokenizer.timestamp_begin) == "<|0.00|>"
    samples, _ = soundfile.read(folder / "0.wav", dtype="float32")
    segments, info = model.transcribe(samples, beam_size=1, temperature=0.0)
    assert len(list(segments)) >= 0  # lazy: only now has it run
    assert f"<|{info.language}|>" in model.hf_tokenizer.get_vocab()


def test_the_product_holds_it_to_its_gate(trained: Path, tmp_path: Path) -> None:
    """One that has learnt nothing, not even to end at once, is dropped for what it says."""
    _, tokenizer, _ = load_best(trained)
    torch.manual_seed(1)
    network = build_network(TINY, tokenizer)
    profile = {"description": "nothing", "gates": {"min_avg_logprob": -0.01}}
    folder = write_folder(network, tokenizer, tmp_path / "mini", window_s=3, profile=profile)
    transcriber = load_transcriber(str(folder), threads=1)
    assert transcriber.describe().multilingual
    assert transcriber.transcribe(np.zeros(16_000, np.int16)) is None
    assert transcriber.dropped.total() == transcriber.dropped[DropReason.LOW_LOGPROB] == 1


def test_its_words_are_measured_as_served(folder: Path, written: Path, tmp_path: Path) -> None:
    recordings = read_recordings(folder)
    audio = open_cache(folder / "cache", Path(), [each.path for each in recordings])
    figures = measure(written, recordings, audio, "test", None)
    write_figures(figures, tmp_path / "figures.json")
    read = json.loads((tmp_path / "figures.json").read_text())
    assert set(read) == {folder.name, f"{folder.name} 10 dB noise"}
    for errors in read.values():
        assert errors["recordings"] == 3
        assert errors["dropped"] == errors["gated_rate"] == 1.0  # its gate lets nothing through


def test_gates_keep_what_was_heard_right(
    folder: Path, whisper_models: Callable[..., Path], tmp_path: Path
) -> None:
    """A model that always says the first sentence is right about a third of the recordings."""
    says_one = tmp_path / "one"
    shutil.copytree(whisper_models(says=SENTENCES[0]), says_one)
    profile = {"description": "says one sentence"}
    write_profile(says_one, profile)
    recordings = [replace(each, split="dev") for each in read_recordings(folder)]
    audio = open_cache(folder / "cache", Path(), [each.path for each in recordings])
    gates = choose_gates(says_one, recordings, audio)
    assert json.loads((says_one / "realtime_ser.json").read_text()) == profile
    write_profile(says_one, profile | {"gates": gates})
    right = [i for i, each in enumerate(recordings) if each.text == SENTENCES[0]]
    transcriber = load_transcriber(str(says_one), threads=1)
    heard = hear(transcriber, says_one, sounds_of(recordings, audio, right))
    assert sum(each.passed for each in heard) >= 5
    assert choose_gates(says_one, recordings[1::3], audio) == {}  # where it is never right


# In hundredths: hypothesis refuses floats while torch flushes denormals, as training has it do.
@given(
    hundredths=hnp.arrays(
        int, st.tuples(st.integers(20, 60), st.just(2)), elements=st.integers(-400, 0)
    ),
    share=st.integers(0, 10),
)
def test_gates_share_what_may_be_lost(hundredths: np.ndarray, share: int) -> None:
    logprobs = hundredths / 100
    kept = (logprobs >= gates_that_keep(logprobs, 0.95, share / 10)).all(axis=1)
    assert kept.sum() >= int(0.95 * len(logprobs)) - 1


def test_no_token_of_a_text_is_suppressed(written: Path) -> None:
    """faster-whisper suppresses the first tokens of " -", " '" and " ♪"."""
    from faster_whisper.transcribe import get_suppressed_tokens

    tokenizer = train_tokenizer([*SENTENCES, "x"], 300)
    assert tokenizer.get_vocab_size() <= 300 + 1608
    served = ServedTokenizer(tokenizer, True, task="transcribe", language="en")
    suppressed = set(get_suppressed_tokens(served, [-1]))
    for text in ("Turn on the light.", "It's a Żółw", "x y z q"):
        tokens = tokenizer.encode(f" {text}").ids
        assert not suppressed & set(tokens)
        assert tokenizer.decode(tokens) == f" {text}"


def test_a_language_that_whisper_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r"<\|xx\|>"):
        token_id(train_tokenizer(SENTENCES, 300), "xx")


@pytest.fixture(scope="module")
def maker(folder: Path) -> TextBatchMaker:
    recordings = read_recordings(folder)
    return TextBatchMaker(
        recordings,
        np.arange(12),
        open_features(folder / "cache", [each.path for each in recordings]),
        train_tokenizer(SENTENCES, 300),
        batch_size=16,
        window_s=3,
        padded_s=60,
        mixture=CONFIG.mixture,
        augmentation=Augmentation(),
        seed=5,
    )


def test_a_pool_is_the_same_every_time(maker: TextBatchMaker) -> None:
    for one, other in zip(maker.pool(3), maker.pool(3), strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.labels, other.labels)
    assert len({batch.features.sum().item() for n in (3, 4) for batch in maker.pool(n)}) == 16


def test_what_a_batch_asks_for(maker: TextBatchMaker) -> None:
    """Words or, where there are none, the end at once; the language where there is a voice."""
    tokenizer = maker.tokenizer
    languages = {token_id(tokenizer, code) for code in ("en", "de", "pl")}
    end, silent = (token_id(tokenizer, name) for name in ("endoftext", "nospeech"))
    seen, taken_for = set(), set()
    for batch in maker.pool(0):
        assert batch.features.shape[1] % 2 == 0
        for i, words in enumerate(batch.words):
            labels = [label for label in batch.labels[i].tolist() if label != IGNORED]
            text = [label for label in labels if label < end]
            assert labels[-1] == end
            assert torch.all(batch.features[i, batch.lengths[i] :] == 0)
            if words is None:
                assert labels in ([silent, end], [end])
                taken_for.add(batch.tokens[i, 1].item())
                seen.add("no voice" if silent in labels else "unknown")
            else:
                assert labels[0] in languages
                assert text == words
                assert tokenizer.decode(words).strip() in SENTENCES
                seen.add("timed" if labels[1] > end else "words")
    assert seen == {"no voice", "unknown", "timed", "words"}
    assert taken_for == languages  # in all of which there is nothing to write


def test_without_augmentation_the_features_are_those_served() -> None:
    """Nothing drawn, nothing changed: the spectrogram goes to power and back."""
    sound = np.sin(np.arange(16_000) * 0.3).astype(np.float32) * 0.3
    frames = log_mel(feature_extractor(), sound)
    # The product leaves out the last frame, which is padding at Whisper's usual rate.
    assert frames.shape == (FRAMES_PER_SECOND - 1, BANDS)
    still = replace(Augmentation().eased(0.0), gain_db=(0, 0), noise_ratio_db=(0, 0))
    noises = [power(torch.from_numpy(frames))]
    features, lengths, clean = augmented([frames], noises, still, np.random.default_rng(0))
    assert lengths.tolist() == [len(frames)]
    assert np.abs(features[0].numpy() - frames).max() < 1e-3
    assert np.abs(clean[0].numpy() - frames).max() < 1e-5


def test_a_clip_takes_on_the_colour_of_another() -> None:
    """The mean and spread of its bands, within its length; its shape stays."""
    generator = np.random.default_rng(3)
    shapes = generator.normal(size=(2, 40, BANDS))
    features = torch.from_numpy(shapes * [[[0.1]], [[0.4]]] + [[[0.5]], [[-0.5]]]).float()
    lengths = torch.tensor([40, 30])
    rules = replace(Augmentation(), style_probability=1.0)
    swapped = next(  # seed by seed, until the two are each other's
        seed for seed in range(9) if np.random.default_rng(seed).permutation(2)[0] == 1
    )
    mixed = mixed_style(features, lengths, rules, np.random.default_rng(swapped))
    for i, size in enumerate(lengths.tolist()):
        before, after = features[i, :size], mixed[i, :size]
        bounds = features[0].mean(), features[1, :30].mean()
        assert min(bounds) < after.mean() < max(bounds)
        assert torch.corrcoef(torch.stack([before[:, 7], after[:, 7]]))[0, 1] > 0.999
        assert not torch.allclose(before, after)
    rules = replace(rules, style_probability=0.0)
    assert torch.equal(mixed_style(features, lengths, rules, generator), features)


def test_the_speech_is_never_at_the_same_place(maker: TextBatchMaker) -> None:
    """The recordings begin with sound; the pause put before it is quiet, and varies."""
    rng = np.random.default_rng(1)
    known = [each for each in (maker._example(Acting(), rng) for _ in range(60)) if each.text]
    starts = {each.speech[0] for each in known}
    assert len(starts) > 10
    for each in known:
        first, last = each.speech
        assert 0 < first < last < len(each.frames)
        loudest = each.frames[first:last].max()
        assert each.frames[:first].max(initial=-9) < loudest - 0.5


def test_corpora_weigh_by_the_root_of_their_sentences_which_weigh_alike() -> None:
    def recording(corpus: str, text: str) -> Recording:
        return Recording("", text, "train", "s", "en", corpus)

    four = [recording("four", text) for text in "aaaaaaabcd"]
    weights = sampling_weights([*four, *[recording("one", "e")] * 50], {})
    assert weights[:7].sum() == pytest.approx(weights[7])
    assert weights[:10].sum() == pytest.approx(2 * weights[10:].sum())
    weights = sampling_weights([*four, recording("one", "e")], {"one": 6.0})
    assert weights[10] == pytest.approx(0.75)
    weights = sampling_weights([*four, recording("one", "bell")], {"b": 2.0})
    assert weights[7] == pytest.approx(2 * weights[8])
    assert weights[10] == pytest.approx(weights[:10].sum() * 2 / 2.5)
