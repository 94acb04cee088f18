"""The verbs of the transcriber: train-transcriber, write-transcriber, evaluate-transcriber.

    python -m realtime_ser_export train-transcriber --data FOLDER --out DIR

trains (or goes on), writes the folder for `--asr DIR` and prints its word errors. FOLDER holds
recordings and transcripts.csv (`file,text`), or the corpora; several may be given. With
`--synthetic`, espeak-ng also speaks the sentences of a text file, and with `--unknown` those of
another, any large one, which are not to be known: a closed vocabulary has a likely sentence for
everything unless it is shown what is none of them. With `--borrowed-voices` the voices of flite,
RHVoice, Pico and MBROLA speak both too: a sentence that nobody was recorded with is better learnt
from them. To train a finished run further, ask for more --steps; on other data with the same
sentences, in another --work, with last.pt and tokenizer.json of the first copied into it. The other
two verbs are its last stages alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_ser.models.transcriber_profile import PROFILE_FILE

if TYPE_CHECKING:
    from ..transcriber.train_transcriber import TranscriberConfig
    from ..transcriber.transcripts import Recording

_VERBS = {
    "train-transcriber": "train a small Whisper on recordings with transcripts; write, measure",
    "write-transcriber": "write the best network so far as a folder for --asr, and measure it",
    "evaluate-transcriber": "measure the word errors of the folder --out",
}


def add_verbs(verbs: Any) -> None:
    """Add the verbs to an argparse sub-command group; each sets `run`."""
    for name, purpose in _VERBS.items():
        verb = verbs.add_parser(name, help=purpose)
        verb.set_defaults(run=run)
        verb.add_argument(
            "--data",
            type=Path,
            required=True,
            action="append",
            help="folder with transcripts.csv (file,text), or the corpora; may be repeated",
        )
        verb.add_argument("--out", type=Path, required=True, help="folder to write or replace")
        verb.add_argument(
            "--synthetic",
            type=Path,
            metavar="SENTENCES",
            nargs="?",
            const=Path(__file__).parents[1] / "transcriber" / "sentences.txt",
            help="also let espeak-ng speak the sentences of this file (default: ours)",
        )
        verb.add_argument(
            "--unknown",
            type=Path,
            metavar="SENTENCES",
            help="let espeak-ng speak these too, as speech that is not to be known; one a line",
        )
        verb.add_argument(
            "--borrowed-voices",
            action="store_true",
            help="let flite, RHVoice, Pico and MBROLA speak --synthetic and --unknown too",
        )
        verb.add_argument(
            "--sound", type=Path, help="folder with read_speech/ and noise/, to be dropped"
        )
        verb.add_argument(
            "--work",
            type=Path,
            default=Path("~/.cache/realtime-ser-export/transcriber").expanduser(),
            help="caches and checkpoints, 3 GB (default: %(default)s)",
        )
        verb.add_argument("--split", default="test", help="measured split (default: %(default)s)")
        verb.add_argument("--description", default="", help="what it is for, in one line")
        verb.add_argument("--license", default="", help="of the weights: the strictest of the data")
        verb.add_argument(
            "--emphasis",
            type=_factor,
            action="append",
            default=[],
            metavar="WHAT=FACTOR",
            help="draw a corpus, or the sentences that begin so, more often than the others",
        )
        verb.add_argument("--steps", type=int)
        verb.add_argument(
            "--learning-rate",
            type=float,
            help="at its height; in the last 30 %% of all --steps it falls to nothing",
        )
        verb.add_argument(
            "--teacher",
            metavar="MODEL",
            help="foretell the states of this Whisper encoder, too, such as smart-turn-v3.2",
        )
        verb.add_argument("--threads", type=int)


def _factor(text: str) -> tuple[str, float]:
    what, _, factor = text.rpartition("=")
    return what, float(factor)


def run(options: argparse.Namespace) -> None:
    """Do what the verb says."""
    from ..speech.audio_cache import open_cache
    from ..transcriber.log_mel import open_features
    from ..transcriber.small_whisper import WhisperSizes, write_profile
    from ..transcriber.train_transcriber import train
    from ..transcriber.word_errors import in_words, measure, table, write_figures

    config = _config(options)
    recordings = _recordings(options)
    paths = [each.path for each in recordings]
    audio = open_cache(options.work / "cache", Path(), paths)
    if options.verb == "train-transcriber":
        features = open_features(options.work / "cache", paths)
        train(
            recordings,
            features,
            options.work,
            WhisperSizes(),
            config,
            lambda network, tokenizer: _dev_score(
                network, tokenizer, recordings, audio, options.work, config
            ),
        )
    if options.verb != "evaluate-transcriber":
        _write(options, config, recordings, audio)
    figures = measure(options.out, recordings, audio, options.split, options.sound)
    write_figures(figures, options.work / f"figures-{options.split}.json")
    if options.verb != "evaluate-transcriber":
        profile = json.loads((options.out / PROFILE_FILE).read_text(encoding="utf-8"))
        write_profile(options.out, profile | {"measured": [*in_words(figures)]})
    print("\n".join(table(figures)))


def _config(options: argparse.Namespace) -> TranscriberConfig:
    from ..transcriber.train_transcriber import TranscriberConfig

    emphasis = dict(options.emphasis)
    given = {
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "threads": options.threads,
        "teacher": options.teacher,
        "emphasis": emphasis,
    }
    return TranscriberConfig(**{name: value for name, value in given.items() if value is not None})


def _recordings(options: argparse.Namespace) -> list[Recording]:
    from ..transcriber.synthetic_speech import (
        ACCENTED,
        BORROWED,
        borrowed_takes,
        borrowed_unknown_takes,
        read_sentences,
        read_unknown,
        takes,
        unknown_takes,
        write_corpus,
    )
    from ..transcriber.transcripts import read_recordings

    borrowed = (BORROWED, ACCENTED) if options.borrowed_voices else ()
    folders = list(options.data)
    if options.synthetic is not None:
        sentences = read_sentences(options.synthetic)
        folders.append(write_corpus(options.work / "espeak", [*takes(sentences)]))
        for corpus in borrowed:
            spoken = [*borrowed_takes(corpus, sentences, dict(options.emphasis))]
            folders.append(write_corpus(options.work / corpus, spoken))
    recordings = [recording for folder in folders for recording in read_recordings(folder)]
    if options.unknown is not None:
        unknown = read_unknown(options.unknown, sorted({each.text for each in recordings}))
        folders = [write_corpus(options.work / "espeak-unknown", [*unknown_takes(unknown)])]
        for corpus in borrowed:
            spoken = [*borrowed_unknown_takes(corpus, unknown)]
            folders.append(write_corpus(options.work / f"{corpus}-unknown", spoken))
        recordings += [each for folder in folders for each in read_recordings(folder)]
    return recordings


def _dev_score(
    network: Any, tokenizer: Any, recordings: Any, audio: Any, work: Path, config: Any
) -> float:
    """Mean word error rate over the corpora on at most 120 dev recordings of each, as served."""
    from realtime_ser.models.transcriber import load_transcriber

    from ..transcriber.small_whisper import write_folder
    from ..transcriber.word_errors import hear, sounds_of, word_errors

    folder = write_folder(
        network, tokenizer, work / "candidate", window_s=config.window_s, profile={}
    )
    transcriber = load_transcriber(str(folder), threads=1)
    rates = {}
    for corpus in dict.fromkeys(each.corpus for each in recordings):
        dev = [
            i
            for i, each in enumerate(recordings)
            if each.corpus == corpus and each.split == "dev" and each.text
        ]
        dev = dev[:: max(1, len(dev) // 120)]
        if dev:
            heard = hear(transcriber, folder, sounds_of(recordings, audio, dev))
            rates[corpus] = word_errors(heard).rate
    print("dev", json.dumps({name: round(rate, 3) for name, rate in rates.items()}), flush=True)
    return sum(rates.values()) / max(1, len(rates))


def _write(options: argparse.Namespace, config: Any, recordings: Any, audio: Any) -> None:
    from ..transcriber.small_whisper import parameter_count, write_folder, write_profile
    from ..transcriber.train_transcriber import load_best
    from ..transcriber.word_errors import choose_gates

    network, tokenizer, training = load_best(options.work)
    profile: dict[str, Any] = {
        "description": options.description,
        "languages": sorted({each.language for each in recordings if each.text}),
        "license": options.license,
    }
    write_folder(network, tokenizer, options.out, window_s=config.window_s, profile=profile)
    gates = choose_gates(options.out, recordings, audio)
    write_profile(options.out, profile | {"gates": gates})
    print(
        f"wrote {options.out}: {parameter_count(network):,} parameters, {training['step']} steps, "
        f"gates {json.dumps(gates)}"
    )
