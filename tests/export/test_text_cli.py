"""The verbs `text` and `random`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
pytest.importorskip("optimum", reason="optimum is not installed")

from realtime_ser_export.cli import main
from realtime_ser_export.encoder_folder import read_record

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    out = tmp_path / "model"
    assert main(["random", "distilbert", "--out", str(out), "--size", "tiny"]) == 0
    return out


def test_from_nothing_to_an_encoder(tmp_path: Path, capsys: Captured) -> None:
    model, out = str(tmp_path / "model"), tmp_path / "out"
    arguments = ["random", "roberta", "--out", model, "--size", "tiny"]
    assert main([*arguments, "--head", "classification"]) == 0
    said = capsys.readouterr()
    assert "RANDOM WEIGHTS: its answers mean nothing" in said.out
    assert f"realtime-ser-export text {model} --out DIR" in said.out
    assert main(["text", model, "--out", str(out), "--max-tokens", "20"]) == 0
    said = capsys.readouterr()
    assert "licence of the weights: none, RANDOM WEIGHTS" in said.out
    assert "logits: angry, happy, neutral, sad\nembedding: 32 wide\n" in said.out
    assert "texts are cut at 20 tokens" in said.out
    assert read_record(out).part["max_tokens"] == 20


def test_options_of_a_head(tmp_path: Path, capsys: Captured) -> None:
    model, out = str(tmp_path / "model"), tmp_path / "out"
    arguments = ["random", "bert", "--out", model, "--size", "tiny", "--head", "regression"]
    assert main(arguments) == 0
    text = ["text", model, "--out", str(out)]
    assert main(text) == 4
    assert "give them: --range LOW HIGH" in capsys.readouterr().err
    names = ["--name-labels", "valence, arousal,dominance"]
    assert main([*text, "--range", "1", "5", *names, "--pooling", "first"]) == 0
    affect, embedding = read_record(out).part["outputs"]
    assert affect["labels"] == ["valence", "arousal", "dominance"]
    assert affect["range"] == [1, 5]
    assert embedding["unit"] == "none, first token"


def test_another_random_model_in_its_place(model: Path) -> None:
    arguments = ["random", "distilbert", "--out", str(model), "--size", "tiny", "--seed", "1"]
    before = (model / "model.safetensors").read_bytes()
    assert main(arguments) == 0
    assert (model / "model.safetensors").read_bytes() != before


def test_nothing_else_is_overwritten(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "README.md").write_text("my only copy")
    (tmp_path / "file").write_text("a file")
    for place in ("thesis", "file"):
        assert main(["random", "bert", "--out", str(tmp_path / place), "--size", "tiny"]) == 4
        assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "README.md").read_text() == "my only copy"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["text", "./nowhere", "--out", "out"], 4, "there is no folder ./nowhere"),
        (["text", "x"], 2, "the following arguments are required: --out"),
        (["text", "x", "--out", "out", "--head", "both"], 2, "invalid choice: 'both'"),
        (["text", "x", "--out", "out", "--name-labels", "a,,b"], 2, "is not NAME,NAME"),
        (["random", "gpt", "--out", "out"], 2, "invalid choice: 'gpt'"),
        (["random", "bert", "--out", "out", "--size", "large"], 2, "invalid choice: 'large'"),
    ],
)
def test_usage(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        result = main(arguments)
    except SystemExit as exit_:  # argparse
        result = int(exit_.code or 0)
    assert result == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
