from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_ser.core.events import (
    EmotionPartial,
    Event,
    Pong,
    SessionResumed,
    TranscriptPartial,
    UtteranceStart,
    WarningEvent,
)
from realtime_ser.core.replay import KEPT_EVENTS, Replay
from realtime_ser.errors import RemoteProtocolError
from realtime_ser.types import Affect, Emotion, Transcript

RESUMED = SessionResumed(audio_end=0, session_id="s", received_samples=0)


def lasting(seq: int) -> Event:
    return UtteranceStart(seq=seq, audio_end=0, utterance_id=seq, audio_start=0)


def partial(seq: int) -> Event:
    return EmotionPartial(
        seq=seq,
        audio_end=0,
        utterance_id=0,
        audio_start=0,
        revision=seq,
        emotion=Emotion(("calm",), (1.0,)),
        affect=Affect(0.5, 0.5, 0.5),
        confidence=1.0,
        abstained=False,
        speech_seconds=1.0,
    )


def words(seq: int) -> Event:
    transcript = Transcript("so far", "en", -0.1, 0.0)
    return TranscriptPartial(
        seq=seq, audio_end=0, utterance_id=0, audio_start=0, revision=seq, transcript=transcript
    )


MAKE = {"l": lasting, "p": partial, "w": words}


def drain(replay: Replay) -> list[Event]:
    drained = []
    while (event := replay.next()) is not None:
        drained.append(event)
    return drained


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


@given(st.text("lpw.", max_size=60), st.integers(0, 60), st.data())
def test_whatever_was_sent_before_the_drop_nothing_lasting_is_lost_or_told_twice(
    line: str, sent: int, data: st.DataObject
) -> None:
    """l: a lasting event, p: a partial, w: words so far, '.': the client reads one."""
    replay, read = Replay(), []
    for seq, mark in enumerate(line):
        if mark == ".":
            event = replay.next()
            read += [] if event is None else [event]
        else:
            replay.push(MAKE[mark](seq))
    # the client got some of what was sent, then the connection dropped
    received = read[: data.draw(st.integers(0, len(read)))]
    last_seq = received[-1].seq if received else -1
    replay.rewind(RESUMED, last_seq)
    after = drain(replay)
    assert isinstance(after[0], SessionResumed)
    assert after[0].seq == max(0, last_seq)
    told = [*received, *after[1:]]
    assert seqs(told) == sorted(set(seqs(told)))
    wanted = [seq for seq, mark in enumerate(line) if mark == "l"]
    assert [event.seq for event in told if isinstance(event, UtteranceStart)] == wanted


def test_a_slow_reader_gets_the_newest_partial_only() -> None:
    replay = Replay()
    for event in (lasting(0), partial(1), partial(2), partial(3), lasting(4), partial(5)):
        replay.push(event)
    assert replay.unsent == 4
    assert seqs(drain(replay)) == [0, 3, 4, 5]
    assert replay.dropped_partials == 2


def test_a_slow_reader_gets_the_newest_of_each_kind_of_partial() -> None:
    replay = Replay()
    for seq, mark in enumerate("lpwpwwplpw"):
        replay.push(MAKE[mark](seq))
    assert seqs(drain(replay)) == [0, 5, 6, 7, 8, 9]
    assert replay.dropped_partials == 4


def test_pongs_take_no_number_and_are_not_kept() -> None:
    replay = Replay()
    replay.push(lasting(0))
    replay.push_unnumbered(Pong(audio_end=0, id="x"))
    replay.push(WarningEvent(seq=1, audio_end=0, code="c", message="m"))
    assert [(event.type, event.seq) for event in drain(replay)] == [
        ("utterance.start", 0),
        ("pong", 0),
        ("warning", 1),
    ]
    replay.rewind(RESUMED, -1)
    assert [event.type for event in drain(replay)] == [
        "session.resumed",
        "utterance.start",
        "warning",
    ]


def test_memory_is_bounded_and_what_is_gone_is_said() -> None:
    replay = Replay()
    for seq in range(KEPT_EVENTS + 10):
        replay.push(lasting(seq))
        replay.next()
    with pytest.raises(RemoteProtocolError, match="events up to 9 are no longer kept") as caught:
        replay.rewind(RESUMED, 8)
    assert caught.value.code == "resume_impossible"
    replay.rewind(RESUMED, 9)
    assert len(drain(replay)) == KEPT_EVENTS + 1


def test_what_never_was_cannot_have_been_received() -> None:
    replay = Replay()
    replay.push(lasting(0))
    with pytest.raises(RemoteProtocolError, match="last_seq is 1, and the session has come to 0"):
        replay.rewind(RESUMED, 1)
