from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from realtime_ser.config import SPECS, Settings, load
from realtime_ser.errors import ConfigError


def test_later_sources_win_and_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('hangover_ms = 600\npre_roll_ms = 200\nasr = "off"\nmax_utterance_s = 14\n')
    environment = {"REALTIME_SER_PRE_ROLL_MS": "250", "REALTIME_SER_ASR": "base", "HOME": "/x"}
    effective = load(file=file, environment=environment, flags={"asr": "small"})
    settings = effective.settings
    assert (settings.hangover_ms, settings.pre_roll_ms, settings.asr) == (600, 250, "small")
    assert settings.max_utterance_s == 14.0
    assert effective.origins["hangover_ms"] == f"file {file}"
    assert effective.origins["pre_roll_ms"] == "environment REALTIME_SER_PRE_ROLL_MS"
    assert effective.origins["asr"] == "flag --asr"
    assert effective.origins["bundle"] == "default"


def test_without_sources_the_defaults_stand() -> None:
    assert load().settings == Settings()
    assert set(asdict(Settings())) == set(SPECS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hangovr_ms = 5", "unknown setting hangovr_ms in .*; did you mean hangover_ms"),
        ("nothing_like_it = 5", "unknown setting nothing_like_it in .*; see `realtime-ser config`"),
        ('hangover_ms = "5"', "hangover_ms in .* must be a whole number, not '5'"),
        ("hangover_ms = true", "must be a whole number, not True"),
        ("hangover_ms = 500.5", "must be a whole number, not 500.5"),
        ("partials = 1", "must be true or false, not 1"),
        ("hangover_ms = 1", "must lie in 60 to 10000, not 1"),
        ('device = "tpu"', "must be one of auto, cpu, cuda, not 'tpu'"),
        ("silero_enter = nan", "silero_enter in .* must lie in 0 to 1, not nan"),
        ("[segmentation]", "unknown setting segmentation"),
        ("= 5", "is not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_named(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no settings file at .*; check --config"):
        load(file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("REALTIME_SER_HANGOVR_MS", "5", "did you mean REALTIME_SER_HANGOVER_MS"),
        ("REALTIME_SER_PARTIALS", "maybe", "REALTIME_SER_PARTIALS must be true or false"),
        ("REALTIME_SER_THREADS", "two", "REALTIME_SER_THREADS must be a whole number"),
    ],
)
def test_a_bad_variable_is_refused(variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(environment={variable: text})


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON"])
def test_booleans_have_several_spellings(text: str) -> None:
    assert load(environment={"REALTIME_SER_ASR_REQUIRED": text}).settings.asr_required is True


@pytest.mark.parametrize(
    "changes",
    [
        {"start_voiced_ms": 300},
        {"soft_split_s": 20.0},
        {"silero_stay": 0.9},
        {"speculate_after_ms": 600},
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="must not exceed"):
        Settings(**changes)  # type: ignore[arg-type]
