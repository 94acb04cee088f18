"""The text encoder: its network, its training, and what is left behind, on made-up sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_corpora import WORDS, write_emobank, write_goemotions, write_meacorpus

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("optimum", reason="optimum is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from realtime_ser_export.encoder_folder import read_record  # noqa: E402
from realtime_ser_export.errors import ExportError  # noqa: E402
from realtime_ser_export.graphs.served import serve_folder  # noqa: E402
from realtime_ser_export.text.batches import (  # noqa: E402
    allowed_emotions,
    batches,
    corpus_weights,
    encode_rows,
    label_logs,
    own_columns,
)
from realtime_ser_export.text.labels import CORPORA, EMOTIONS, OWN_LABELS  # noqa: E402
from realtime_ser_export.text.measure import ask, interval  # noqa: E402
from realtime_ser_export.text.network import TextEncoder  # noqa: E402
from realtime_ser_export.text.prior import fit_prior, quick_macro_f1  # noqa: E402
from realtime_ser_export.text.settings import NetworkSettings, TextSettings  # noqa: E402
from realtime_ser_export.text.splits import read_rows  # noqa: E402
from realtime_ser_export.text.stage import train  # noqa: E402
from realtime_ser_export.text.tokens import PAD_ID, spoken, token_ids, train_tokenizer  # noqa: E402
from realtime_ser_export.text.train_text import fit, standard_scores  # noqa: E402
from realtime_ser_export.training.context import Progress, StageContext  # noqa: E402
from realtime_ser_export.training.metrics import macro_f1  # noqa: E402
from realtime_ser_export.training.optimisation import masked_cross_entropy  # noqa: E402
from realtime_ser_export.training.protocols import Protocol, Split  # noqa: E402

CORPORA_HERE = ("goemotions", "emobank", "meacorpus")
NETWORK = NetworkSettings(
    vocabulary=400, width=16, blocks="na", inner=16, embedding=12, dropout=0.1, token_dropout=0.05
)
SETTINGS = TextSettings(
    corpora=CORPORA_HERE,
    folds=2,
    steps=240,
    learning_rate=1e-2,
    warmup_steps=10,
    batch_size=16,
    average_decay=0.95,
    evaluate_every=60,
    network=NETWORK,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for write in (write_goemotions, write_emobank, write_meacorpus):
        write(folder / "text")
    return folder


def context_of(data: Path, run: Path, seed: int = 1, resume: bool = True) -> StageContext:
    nobody = np.zeros(0, np.int64)
    return StageContext(
        stage="text",
        data=data,
        run=run,
        cache=run / "cache",
        seed=seed,
        labels=EMOTIONS,
        clips=(),
        protocol=Protocol(),
        split=Split("given", nobody, nobody, nobody, False),
        readers=(),
        noises=(),
        resume=resume,
        threads=1,
        progress=Progress("text", run / "text"),
    )


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> StageContext:
    """A run of the whole stage."""
    context = context_of(data, tmp_path_factory.mktemp("run"))
    train(SETTINGS, context)
    return context


def random_network(blocks: str = "na") -> TextEncoder:
    torch.manual_seed(0)
    model = TextEncoder(replace(NETWORK, blocks=blocks))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_padding_changes_no_answer() -> None:
    model = random_network()
    ids = torch.randint(4, 400, (1, 5))
    wide = torch.full((1, 9), PAD_ID)
    wide[:, :5] = ids
    mask = torch.ones_like(wide)
    mask[:, 5:] = 0
    with torch.no_grad():
        alone = model(ids, torch.ones_like(ids))
        for garbage in (PAD_ID, 17):
            wide[:, 5:] = garbage
            for got, want in zip(model(wide, mask), alone, strict=True):
                torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_text_without_tokens_has_an_answer_of_ordinary_size() -> None:
    with torch.no_grad():
        answers = random_network()(torch.full((1, 3), PAD_ID), torch.zeros(1, 3, dtype=torch.long))
    assert all(answer.abs().max() < 100 for answer in answers)


def test_the_order_of_words_matters_through_the_blocks_alone() -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    mask = torch.ones_like(ids)
    for blocks, differs in (("", False), ("n", True)):
        model = random_network(blocks)
        with torch.no_grad():
            there, back = (model(each, mask)[0] for each in (ids, ids.flip(1)))
        assert bool((there - back).abs().max() > 1e-3) is differs


def test_blocks_start_as_the_identity() -> None:
    torch.manual_seed(3)
    model = TextEncoder(NETWORK).eval()
    hidden = torch.randn(2, 5, NETWORK.width)
    for block in model.blocks:
        out = block(hidden, torch.ones(2, 5, 1), torch.zeros(2, 5))
        torch.testing.assert_close(out, hidden)


def test_labels_that_a_corpus_lacks_get_no_gradient() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    allowed = torch.tensor([[True, True, False]])
    loss = masked_cross_entropy(logits, torch.tensor([[1.0, 0, 0]]), allowed)
    loss.sum().backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad is not None and logits.grad[0, 2] == 0


def test_every_own_label_has_one_column() -> None:
    places = [place for columns in own_columns().values() for place in range(2000)[columns]]
    assert places == list(range(sum(len(labels) for labels in OWN_LABELS.values())))


def encoded_of(data: Path) -> Any:
    rows = [row for row in read_rows(data / "text", CORPORA_HERE) if row.split == "train"]
    return encode_rows(rows, train_tokenizer([row.text for row in rows], 400), 32, seed=1)


def test_rows_keep_their_labels_and_ratings(data: Path) -> None:
    encoded = encoded_of(data)
    rated = encoded.corpus == CORPORA.index("emobank")
    assert not np.isnan(encoded.affect[rated]).any() and np.isnan(encoded.affect[~rated]).all()
    assert np.array_equal(encoded.emotions.sum(1), ~rated)
    assert not (encoded.emotions * ~allowed_emotions()[encoded.corpus]).any()
    logs = label_logs(encoded)
    goemotions = CORPORA.index("goemotions")
    assert np.exp(logs[goemotions]) == pytest.approx(np.full(7, 1 / 7))


def test_small_corpora_are_drawn_more_often_than_their_size(data: Path) -> None:
    encoded = encoded_of(data)
    settings = replace(SETTINGS, draw_power=1.0, boosted=("emobank",), boost=3.0)
    chances = corpus_weights(encoded, settings)
    rated = encoded.corpus == CORPORA.index("emobank")
    assert chances.sum() == pytest.approx(1)
    assert chances[rated][0] == pytest.approx(3 * chances[~rated][0])


def test_standard_scores_of_each_corpus(data: Path) -> None:
    encoded, scales = standard_scores(encoded_of(data))
    rated = encoded.corpus == CORPORA.index("emobank")
    assert encoded.affect[rated].mean(0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert encoded.affect[rated].std(0) == pytest.approx(np.ones(3), abs=1e-5)
    assert np.isnan(scales[CORPORA.index("goemotions")]).all()


def test_batches_depend_on_seed_and_number_alone(data: Path) -> None:
    encoded = encoded_of(data)
    chances = corpus_weights(encoded, SETTINGS)
    whole = list(islice(batches(encoded, chances, 8, 0.5, 7), 90))
    for first in (0, 1, 39, 40, 89):
        resumed = next(batches(encoded, chances, 8, 0.5, 7, first))
        assert torch.equal(resumed.input_ids, whole[first].input_ids)
        assert torch.equal(resumed.emotions, whole[first].emotions)


def test_a_spoken_text_has_no_punctuation_and_no_placeholder() -> None:
    import random

    said = spoken("Well, [NAME]\u2019s here... isn't it?! 😡", random.Random(0))
    assert "[" not in said and said.startswith("Well ") and said.endswith("here isn't it")


def test_the_vocabulary_knows_placeholders_in_capitals_and_no_case_or_accents() -> None:
    tokenizer = train_tokenizer(["tell [NAME] que sí", "tell me"] * 4, 300)
    capitals, small = token_ids(tokenizer, ["TELL [NAME] QUE SI", "tell [name] que sí"], 20)
    assert np.array_equal(capitals, small)
    assert tokenizer.token_to_id("[name]") in small
    assert len(token_ids(tokenizer, [""], 20)[0]) == 1


def test_macro_f1_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 6, 200), rng.integers(0, 7, 200)
    assert quick_macro_f1(predicted, truth) == pytest.approx(macro_f1(predicted, truth))


def test_the_prior_gives_back_what_was_taken_from_the_logits() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 7, 400)
    logits = rng.normal(size=(400, 7)) + 3 * np.eye(7)[truth]
    taken = np.array([0.0, 2, 0, -2, 0, 0, 0])
    prior = fit_prior({"goemotions": (logits - taken, truth)})
    assert prior[1] - prior[3] > 1 and prior.mean() == pytest.approx(0, abs=1e-6)
    fitted = quick_macro_f1((logits - taken + prior).argmax(1), truth)
    assert fitted > quick_macro_f1((logits - taken).argmax(1), truth)


def test_an_interval_holds_its_figure() -> None:
    values = np.linspace(0, 1, 101)
    figure = interval(lambda at: float(values[at].mean()), len(values))
    assert figure["low"] < figure["value"] == 0.5 < figure["high"]


def test_a_stopped_run_goes_on_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    encoded, _ = standard_scores(encoded_of(data))

    def trained(folder: Path, *stops: int) -> dict[str, Any]:
        for stop in stops:
            torch.manual_seed(5)
            # The rate must not tell where the run was stopped.
            settings = replace(SETTINGS, steps=stop, decay_share=0.0, evaluate_every=5)
            progress = Progress("text", folder)
            last = fit(TextEncoder(NETWORK), encoded, settings, folder, seed=1, progress=progress)
        return last.state_dict()

    whole, resumed = trained(tmp_path / "a", 20), trained(tmp_path / "b", 10, 20)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_stage_learns_and_leaves_an_encoder(run: StageContext) -> None:
    record = read_record(run.encoder)
    assert record.modality == "text" and record.part["pad_id"] == PAD_ID
    assert list(record.options["corpora"]) == ["goemotions", "meacorpus", "emobank"]
    served = serve_folder(run.encoder)
    assert {spec.name: spec.shape[1] for spec in served.part.outputs} == {
        "logits": 7,
        "embedding": 12,
        "affect": 3,
    }
    said = ask(run.encoder, [f"it is {word}" for word in WORDS.values()])
    assert np.isfinite(said.logits).all()
    figures = json.loads((run.folder / "figures.json").read_text(encoding="utf-8"))
    # Seven words for seven labels: chance is 0.14, and too little training for more than most.
    assert figures["emotion"]["goemotions.test"]["macro_f1"]["value"] > 0.5
    assert figures["emotion"]["meacorpus.test"]["rows"] == 12
    names = {(row["name"], row["dataset"], row["split"]) for row in figures["metrics"]}
    assert ("macro_f1", "goemotions", "test") in names
    assert ("pearson_valence", "emobank", "test") in names
    assert ("macro_f1", "meacorpus", "test") in names


def test_a_finished_stage_is_not_trained_again(run: StageContext) -> None:
    before = (run.folder / "history.jsonl").read_text(encoding="utf-8")
    digest = read_record(run.encoder).source.weights_sha256
    train(SETTINGS, run)
    assert (run.folder / "history.jsonl").read_text(encoding="utf-8") == before
    assert read_record(run.encoder).source.weights_sha256 == digest


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (lambda: TextSettings(corpora=("moon",)), "no text corpus moon; known: goemotions"),
        (lambda: TextSettings(folds=5, fold=5), "2 folds or more, counted from 0"),
        (lambda: TextSettings(patience=-1), "patience is 0 or more"),
        (lambda: NetworkSettings(kernel=4), "take an odd one"),
        (lambda: NetworkSettings(width=10, heads=4), "4 heads do not divide"),
        (lambda: NetworkSettings(blocks="nx"), "letters n and a"),
        (lambda: NetworkSettings(vocabulary=10), "300 to 32000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: Any, why: str) -> None:
    with pytest.raises(ExportError, match=why):
        settings()
