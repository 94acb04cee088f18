"""The command line as a user meets it: real processes, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from media import write_wav

from realtime_ser.core.wire import json_schema
from realtime_ser.io.file import AudioFile
from realtime_ser.samples import sample_path

SHORT = str(sample_path("short"))


@pytest.fixture
def environment(small_bundle: Path, tmp_path: Path) -> dict[str, str]:
    """Nobody's settings but the small bundle and no transcripts."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("REALTIME_SER_")}
    return {
        **kept,
        "HOME": str(tmp_path),
        "REALTIME_SER_BUNDLE": str(small_bundle),
        "REALTIME_SER_ASR": "off",
    }


def start(environment: dict[str, str], *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "realtime_ser", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(command, env=environment, **pipes)


def run(
    environment: dict[str, str], *arguments: object, stdin: bytes = b""
) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with start(environment, *arguments, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(stdin, timeout=120)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


def events(text: str) -> list[dict[str, Any]]:
    """JSON Lines, each valid against the schema, numbered without gaps in each stream."""
    validator = jsonschema.Draft202012Validator(json_schema())
    parsed = [json.loads(line) for line in text.splitlines()]
    expected = 0
    for event in parsed:
        validator.validate(event)
        expected = 0 if event["type"] == "session.created" else expected
        assert event["seq"] == expected
        expected += 1
    return parsed


def types(parsed: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in parsed if event["type"] != "emotion.partial"]


WHOLE = [
    "session.created",
    "utterance.start",
    "emotion.final",
    "utterance.end",
    "session.closed",
]


def without_rolling(parsed: list[dict[str, Any]]) -> list[str]:
    return [name for name in types(parsed) if name != "rolling.update"]


def test_a_file_as_json_lines(environment: dict[str, str]) -> None:
    code, out, err = run(environment, "file", SHORT, "--json")
    assert (code, err) == (0, "")
    assert without_rolling(events(out)) == WHOLE


def test_a_file_at_the_pace_of_a_microphone_says_the_same(environment: dict[str, str]) -> None:
    finals = []
    for pace in ([], ["--realtime"]):
        code, out, _ = run(environment, "file", SHORT, "--json", *pace)
        assert code == 0
        (final,) = [event for event in events(out) if event["type"] == "emotion.final"]
        account = final.pop("timings")
        assert sum(account["critical"].values()) == pytest.approx(
            account["end_of_speech_to_emit"], abs=1e-3
        )
        finals.append({k: v for k, v in final.items() if k not in ("seq", "lag_ms")})
    assert finals[0] == finals[1]


def test_several_files_are_several_streams_and_a_bad_one_stops_no_other(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out_file = tmp_path / "events.jsonl"
    code, out, err = run(environment, "file", SHORT, "nowhere.wav", SHORT, "--out", out_file)
    assert code == 3
    assert err == "realtime-ser: error: no file nowhere.wav; check the path\n"
    assert without_rolling(events(out_file.read_text())) == WHOLE * 2
    assert out  # and a person reads a line about each utterance
    assert "\x1b" not in out


def test_what_was_recognised_before_the_fault_is_written(
    environment: dict[str, str], tmp_path: Path
) -> None:
    samples = np.concatenate([block.samples for block in AudioFile(SHORT)])[:, 0]
    path = write_wav(tmp_path / "cut.wav", np.tile(samples, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, out, err = run(environment, "file", path, "--json")
    assert code == 3
    assert "is cut short: it should hold" in err
    assert err.count("\n") == 1
    parsed = events(out)
    assert "emotion.final" in types(parsed)
    assert types(parsed)[-2:] == ["error", "session.closed"]
    assert parsed[-1]["reason"] == "error"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["file", "nowhere.wav"], 3, "no file nowhere.wav"),
        (["file", "/dev/null"], 3, "not audio"),
        (["file", SHORT, "--hangover-ms", "soon"], 2, "--hangover-ms must be a whole number"),
        (["file", SHORT, "--hangover-ms", "1"], 2, "--hangover-ms must lie in"),
        (["file", SHORT, "--config", "none.toml"], 2, "no settings file at none.toml"),
        (["file", SHORT, "--bundle", "none"], 4, "bundle 'none' does not exist"),
        (["file", SHORT, "--out", "/no/such/folder/x"], 2, "cannot write /no/such/folder/x"),
        (["file", SHORT, "--asr", "tinny", "--asr-required"], 4, "tinny"),
        (["pipe", "--rate", "100"], 3, "sample rate 100 Hz is not supported"),
        (["pipe", "--encoding", "mp3"], 3, "unknown encoding 'mp3'"),
        (["pipe"], 3, "standard input ended without audio"),
        (["models", "show", "none"], 4, "bundle 'none' does not exist"),
        (["models", "pull", "tinny"], 4, "tinny"),
    ],
)
def test_each_fault_has_one_line_and_its_exit_code(
    environment: dict[str, str], arguments: list[str], code: int, message: str
) -> None:
    got, _, err = run(environment, *arguments)
    assert got == code, err
    assert err.startswith("realtime-ser: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_usage_errors_are_2_and_unknown_settings_are_errors(environment: dict[str, str]) -> None:
    assert run(environment)[0] == 2
    assert run(environment, "fly")[0] == 2
    assert run(environment, "file", SHORT, "--no-such-flag")[0] == 2
    code, _, err = run({**environment, "REALTIME_SER_HANGOVR_MS": "5"}, "config")
    assert code == 2
    assert "did you mean REALTIME_SER_HANGOVER_MS" in err


def test_cuda_is_never_a_quiet_cpu_run(environment: dict[str, str]) -> None:
    from realtime_ser.models.ort import find_cuda_problem

    if find_cuda_problem() is None:
        pytest.skip("CUDA works here")
    code, out, err = run(environment, "file", SHORT, "--device", "cuda", "--json")
    assert (code, out) == (4, "")
    assert "device cuda does not work" in err


def test_a_flipped_byte_in_a_bundle_is_found(
    environment: dict[str, str], small_bundle: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(small_bundle, tmp_path / "broken")
    graph = broken / "audio" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(bytes(content))
    for arguments in (["file", SHORT, "--bundle", broken], ["models", "verify", broken]):
        code, _, err = run(environment, *arguments)
        assert code == 4
        assert "audio/model.onnx" in err


@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
def test_a_pipe_of_raw_audio(environment: dict[str, str], encoding: str) -> None:
    samples = np.concatenate([block.samples for block in AudioFile(SHORT)])[:, 0]
    stereo = np.repeat(samples[:, np.newaxis], 2, axis=1)
    data = stereo.tobytes() if encoding == "s16le" else (stereo / np.float32(32768)).tobytes()
    code, out, err = run(
        environment, "pipe", "--encoding", encoding, "--channels", 2, "--json", stdin=data + b"\x01"
    )
    assert (code, err) == (0, "")
    assert without_rolling(events(out)) == WHOLE


def test_nan_in_a_pipe_is_named_after_what_came_before(environment: dict[str, str]) -> None:
    samples = np.concatenate([block.samples for block in AudioFile(SHORT)])[:, 0]
    data = (samples / np.float32(32768)).tobytes() + np.full(16000, np.nan, "<f4").tobytes()
    code, out, err = run(environment, "pipe", "--encoding", "f32le", "--json", stdin=data)
    assert code == 3
    assert "NaN or infinite" in err
    assert "emotion.final" in types(events(out))


def test_ctrl_c_ends_a_live_stream_with_what_was_said(environment: dict[str, str]) -> None:
    samples = np.concatenate([block.samples for block in AudioFile(SHORT)])[:, 0]
    with start(environment, "pipe", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(samples[: 2 * 16000].tobytes())
        process.stdin.flush()
        lines = [process.stdout.readline()]
        while b"emotion.partial" not in lines[-1]:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, err = process.stdout.read(), process.stderr
        assert process.wait(60) == 0
        assert err is not None
        assert b"Traceback" not in err.read()
    parsed = events((b"".join(lines) + rest).decode())
    assert "emotion.final" in types(parsed)
    assert parsed[-1]["reason"] == "interrupted"


def test_ctrl_c_ends_all_files_not_only_the_one_that_plays(environment: dict[str, str]) -> None:
    arguments = ["file", sample_path("demo"), SHORT, "--realtime", "--json"]
    with start(environment, *arguments) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        lines.append(process.stdout.read())
        assert process.wait(60) == 130
    parsed = events(b"".join(lines).decode())
    assert types(parsed) == ["session.created", "session.closed"]
    assert parsed[-1]["reason"] == "interrupted"


def test_a_reader_that_leaves_is_no_error(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "realtime_ser", "file", str(sample_path("demo")), "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_config_prints_toml_with_origins(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("hangover_ms = 700\n")
    code, out, _ = run(environment, "config", "--config", file, "--language", "de", "--no-partials")
    assert code == 0
    assert tomllib.loads(out)["hangover_ms"] == 700
    assert tomllib.loads(out)["partials"] is False
    lines = {line.split(" = ")[0]: line.split("# ")[1] for line in out.splitlines()}
    assert lines["hangover_ms"] == f"file {file}"
    assert lines["asr"] == "environment REALTIME_SER_ASR"
    assert lines["language"] == "flag --language"
    assert lines["device"] == "default"
    again = tmp_path / "again.toml"
    again.write_text(out)
    assert run(environment, "config", "--config", again)[0] == 0


def test_models_and_version_and_schema(environment: dict[str, str], small_bundle: Path) -> None:
    code, out, _ = run(environment, "models", "list")
    assert code == 0
    assert "tiny" in out
    code, out, _ = run(environment, "models", "show", small_bundle)
    assert code == 0
    assert "angry, disgust" in out
    code, out, _ = run(environment, "models", "verify", small_bundle)
    assert code == 0
    assert "golden  ok" in out
    assert run(environment, "--version")[1].startswith("realtime-ser 0.")
    assert json.loads(run(environment, "schema")[1]) == json_schema()
