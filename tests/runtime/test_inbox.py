"""Calls from threads to the event loop."""

from __future__ import annotations

import asyncio
import threading

from realtime_ser.runtime.inbox import LoopInbox, inbox_of


def test_every_call_of_every_thread_is_made_in_its_order() -> None:
    async def run() -> list[tuple[int, int]]:
        loop = asyncio.get_running_loop()
        inbox = inbox_of(loop)
        assert inbox_of(loop) is inbox
        made: list[tuple[int, int]] = []
        all_made = asyncio.Event()

        def note(thread: int, number: int) -> None:
            made.append((thread, number))
            if len(made) == 8 * 500:
                all_made.set()

        def post(thread: int) -> None:
            for number in range(500):
                inbox.post(note, thread, number)

        threads = [threading.Thread(target=post, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        async with asyncio.timeout(60):
            await all_made.wait()
        for thread in threads:
            thread.join()
        return made

    made = asyncio.run(run())
    for thread in range(8):
        assert [number for who, number in made if who == thread] == list(range(500))


def test_one_that_fails_does_not_cost_the_others_theirs() -> None:
    async def run() -> list[str]:
        complaints: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(str(context["exception"])))
        done = asyncio.Event()

        def fail() -> None:
            raise ValueError("a bad one")

        inbox = inbox_of(loop)
        inbox.post(fail)
        inbox.post(done.set)
        async with asyncio.timeout(60):
            await done.wait()
        return complaints

    assert asyncio.run(run()) == ["a bad one"]


def test_a_closed_loop_makes_no_calls_and_no_trouble() -> None:
    loop = asyncio.new_event_loop()
    inbox = LoopInbox(loop)
    loop.close()
    inbox.post(print, "nobody reads this")
