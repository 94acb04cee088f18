"""Batches made one pool ahead, in a thread, while the network computes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Protocol, TypeVar

Batch_co = TypeVar("Batch_co", covariant=True)
Batch = TypeVar("Batch")


class Pools(Protocol[Batch_co]):
    """What makes pools of batches: the same pool for the same number."""

    def pool(self, number: int) -> list[Batch_co]:
        """The batches of one pool."""


def prefetched(maker: Pools[Batch], first_pool: int) -> Iterator[list[Batch]]:
    """Pools from `first_pool` on, without end, made one ahead in a thread."""
    ready: queue.Queue[list[Batch] | BaseException] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(item: list[Batch] | BaseException) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=1.0)
                return

    def work() -> None:
        number = first_pool
        try:
            while not stopped.is_set():
                put(maker.pool(number))
                number += 1
        except BaseException as error:  # handed over to the consumer, who raises it
            put(error)

    threading.Thread(target=work, name="batches", daemon=True).start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
