"""Where models come from, against a hub on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import faster_whisper.utils
import pytest
from huggingface_hub import constants
from local_hub import LocalHub, running_local_hub

from realtime_ser.errors import ModelUnavailableError
from realtime_ser.models import hub
from realtime_ser.models.transcriber import load_transcriber


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no hub: its port is closed."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def local_hub(
    cache: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalHub]:
    with running_local_hub(whisper_folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def test_the_names_are_those_of_faster_whisper() -> None:
    theirs = faster_whisper.utils._MODELS
    assert {name: theirs.get(name) for name in hub.REPOSITORIES} == hub.REPOSITORIES


def test_a_pulled_model_needs_no_hub_any_more(
    local_hub: LocalHub,
    whisper_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert hub.cached_models() == []
    folder = hub.pull("turbo")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub.pull("turbo") == folder
    assert load_transcriber("turbo", device="cpu", threads=1).describe().name == "turbo"
    [model] = hub.cached_models()
    assert (model.names, model.folder) == (("large-v3-turbo", "turbo"), folder)
    assert model.size_bytes == sum(f.stat().st_size for f in whisper_folder.iterdir())
    assert capfd.readouterr().err == ""  # no progress bars where there is no terminal


def test_an_interrupted_download_is_not_taken_for_a_model(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub.pull("tiny")
    (folder / "model.bin").resolve().unlink()
    assert hub.cached_models() == []
    assert hub.pull("tiny") == folder
    assert hub.missing_files(folder) == []


def test_a_repository_that_lacks_files(
    local_hub: LocalHub, whisper_folder: Path, tmp_path: Path
) -> None:
    local_hub.folder = tmp_path / "incomplete"
    local_hub.folder.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.json"):
        (local_hub.folder / name).write_bytes((whisper_folder / name).read_bytes())
    with pytest.raises(ModelUnavailableError, match=r"faster-whisper-tiny lacks tokenizer\.json"):
        hub.pull("tiny")


ADVICE = r"run `realtime-ser models pull tiny`, copy .* --asr DIR; or use --asr off, or --asr mini"


def test_a_closed_port(cache: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=rf"127\.0\.0\.1:9 does not give it.*{ADVICE}"):
        load_transcriber("tiny", device="cpu", threads=1)


def test_a_hub_that_never_answers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.HUB_DEADLINE_S <= 8  # of the 10 s that are promised; the rest is for imports
    monkeypatch.setattr(hub, "HUB_DEADLINE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ModelUnavailableError, match=rf"give it within 0\.5 s\..*{ADVICE}"):
            load_transcriber("tiny", device="cpu", threads=1)


def test_a_hub_that_must_not_be_asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError, match=rf"HF_HUB_OFFLINE.*{ADVICE}"):
        hub.pull("tiny")


@pytest.mark.parametrize(("name", "close"), [("tinny", "tiny"), ("Large-v3", "large-v3")])
def test_an_unknown_name(name: str, close: str) -> None:
    with pytest.raises(ModelUnavailableError, match=rf"{name}.*mean {close}\?.*tiny\.en, base,"):
        hub.find_model(name)


def test_an_empty_name() -> None:
    with pytest.raises(ModelUnavailableError, match="there is no transcription model ''"):
        hub.find_model("")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"there is no folder .*nowhere"):
        hub.find_model(str(tmp_path / "nowhere"))


def test_a_folder_is_not_pulled(whisper_folder: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="is a folder"):
        hub.pull(str(whisper_folder))


def test_a_folder_named_like_a_model_needs_a_separator(
    cache: Path, whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").symlink_to(whisper_folder)
    (tmp_path / "ours").symlink_to(whisper_folder)
    assert hub.find_model("./tiny") == Path("tiny")
    assert hub.find_model("ours") == Path("ours")
    with pytest.raises(ModelUnavailableError, match="does not give it"):
        hub.find_model("tiny")
