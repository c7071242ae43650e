"""The store by itself: what is left of it when it is closed."""

import threading
from pathlib import Path

from support.nodes import STORAGE

from pacslite.storage.store import Store


def test_a_transfer_that_is_discarded_while_the_store_closes_leaves_no_segment_open(tmp_path: Path) -> None:
    settings = STORAGE.model_copy(update={"segment_files": 1, "disk_threads": 1})
    store = Store(tmp_path, "node1", settings)
    store.start()
    gate = threading.Event()

    def wait() -> None:
        gate.wait(10)

    file = store.open(b"head")
    file.append([b"data"], lambda: None)
    file.append([b"data"], wait)
    file.discard()
    stopping = threading.Thread(target=store.stop)
    stopping.start()
    while not store._executor._shutdown:
        stopping.join(0.001)
    gate.set()
    stopping.join(10)
    assert [path for path in (tmp_path / "node1").iterdir() if not (path / "sealed").exists()] == []
