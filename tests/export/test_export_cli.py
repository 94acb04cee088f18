"""The command line of exporting: quick to ask, one line when it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from realtime_ser_export.bundles.recipe import packaged_recipes
from realtime_ser_export.cli import main

HEAVY = ("torch", "transformers", "optimum", "onnx", "onnxruntime", "soundfile")
VERBS = (
    *("audio", "text", "random", "bundle", "inspect", "train", "evaluate", "compare", "features"),
    "train-transcriber",
)


def run(program: str, *arguments: str, folder: Path | None = None) -> tuple[int, str, str]:
    """A process of its own: exit code, standard output, standard error."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout, result.stderr


CALL = "import sys; from realtime_ser_export.cli import main; sys.exit(main(sys.argv[1:]))"


def test_help_is_for_people_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from realtime_ser_export.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        f"    print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    code, out, _ = run(program)
    assert code == 0
    assert out.endswith("[]\n")
    for verb in VERBS:
        assert f"\n    {verb} " in out or f"\n    {verb}\n" in out
    assert "realtime-ser-export bundle RECIPE" in out


def test_help_of_bundle_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bundle", "--help"])
    assert ended.value.code == 0
    words = capsys.readouterr().out.split()
    assert {name.rstrip(",") for name in words} >= set(packaged_recipes())


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("torch", ("random", "hubert", "--out", "x")),
        ("onnx", ("inspect", "x")),
    ],
)
def test_a_missing_package_is_one_line_with_the_command(
    tmp_path: Path, missing: str, arguments: tuple[str, ...]
) -> None:
    # What Python itself does for a module that is None there is what it does for one not installed.
    program = f"import sys; sys.modules[{missing!r}] = None; {CALL}"
    code, out, err = run(program, *arguments, folder=tmp_path)
    assert (code, out) == (2, "")
    assert [*tmp_path.iterdir()] == []
    line = err.splitlines()[-1]
    assert line == (
        f"realtime-ser-export: error: {arguments[0]} needs {missing}, which is not installed; "
        "run: pip install 'realtime-ser[export]'"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the following arguments are required: VERB"),
        (["fly"], 2, "invalid choice: 'fly'"),
        (["bundle", "x"], 2, "the following arguments are required: --out"),
        (["bundle", "x", "--out", "y", "--encoder", "audio"], 2, "'audio' is not PART=VALUE"),
        (["bundle", "x", "--out", "y"], 4, "there is no recipe 'x'"),
        (["inspect", "nothing"], 4, "nothing is no bundle"),
        (["features", "x", "--data", "nothing", "--out", "y"], 4, "x has no encoder.json"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[test]'")
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[export]'")
    monkeypatch.chdir(tmp_path)
    try:
        ended: object = main(arguments)
    except SystemExit as error:
        ended = error.code
    assert ended == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [*tmp_path.iterdir()] == []
