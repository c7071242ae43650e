import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import structlog
from pydicom import Dataset
from support.client_runs import Results, peer_of, send

from pacslite.client.store import Verdict
from pacslite.model.errors import ConfigurationError
from pacslite.model.instances import Outcome
from pacslite.settings.schema import Listener, Settings, StorageSettings
from pacslite.testing import NotReceivedError, RunningNode, make_instance, running_node, write_instance


def _send(node: RunningNode, *paths: Path) -> None:
    assert asyncio.run(send(peer_of(node), paths, Results())).counts == {Verdict.STORED: len(paths)}


def _files(folder: Path, *datasets: Dataset) -> list[Path]:
    return [write_instance(folder / f"{number}.dcm", item) for number, item in enumerate(datasets)]


def test_what_is_sent_is_received_in_order(pacs: RunningNode, tmp_path: Path) -> None:
    sent = [make_instance(seed=number) for number in range(3)]
    _send(pacs, *_files(tmp_path, *sent))
    received = pacs.wait_for(3)
    assert [item.sop_instance_uid for item in received] == [item.SOPInstanceUID for item in sent]
    first = received[0]
    assert first.sop_class_uid == sent[0].SOPClassUID
    assert first.provenance.calling_ae_title == "CLIENT"
    assert first.path.is_relative_to(pacs.data_folder)
    assert first.dataset().PixelData == sent[0].PixelData
    assert first.dataset().file_meta.TransferSyntaxUID == first.transfer_syntax_uid


def test_what_came_before_is_received_all_the_same(pacs: RunningNode, tmp_path: Path) -> None:
    (path,) = _files(tmp_path, make_instance())
    _send(pacs, path, path)
    first, second = pacs.wait_for(2)
    assert (first.outcome, second.outcome) == (Outcome.STORED, Outcome.IDENTICAL)
    assert second.path == first.path


def test_log_lines_go_where_pytest_shows_them(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    structlog.reset_defaults()  # a test before this one may have chosen where its own lines go
    with caplog.at_level(logging.INFO), running_node():
        pass
    assert "node.started" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_waiting_takes_a_predicate(pacs: RunningNode, tmp_path: Path) -> None:
    _send(pacs, *_files(tmp_path, make_instance(modality="MR")))
    received = pacs.wait_for(lambda all_received: any(i.dataset().Modality == "MR" for i in all_received))
    assert len(received) == 1


def test_waiting_in_vain_says_what_came(pacs: RunningNode, tmp_path: Path) -> None:
    sent = make_instance()
    _send(pacs, *_files(tmp_path, sent))
    with pytest.raises(NotReceivedError) as caught:
        pacs.wait_for(2, timeout_seconds=0.01)
    assert "waited 0.01 s for 2 instances; 1 came" in str(caught.value)
    assert f"CT Image Storage {sent.SOPInstanceUID} from CLIENT (stored)" in str(caught.value)


async def test_a_coroutine_waits_in_a_thread(pacs: RunningNode, tmp_path: Path) -> None:
    sending = asyncio.to_thread(_send, pacs, *_files(tmp_path, make_instance()))
    _, received = await asyncio.gather(sending, asyncio.to_thread(pacs.wait_for, 1))
    assert len(received) == 1


def test_a_restart_keeps_the_address_and_what_was_received(pacs: RunningNode, tmp_path: Path) -> None:
    paths = _files(tmp_path, make_instance(), make_instance())
    _send(pacs, paths[0])
    address = pacs.address
    pacs.restart()
    assert pacs.address == address
    assert pacs.node.archives["main"].reader.counts().instances == 1
    _send(pacs, paths[1])
    assert len(pacs.wait_for(2)) == 2


def test_a_restart_moves_when_its_port_is_taken(pacs: RunningNode) -> None:
    address = pacs.address
    pacs.stop()
    with running_node(listen=[Listener(port=address[1])]):
        pacs.restart()
        assert pacs.address != address


def test_nodes_of_a_factory_have_their_own_settings(pacs_factory: Callable[..., RunningNode]) -> None:
    one = pacs_factory(ae_title="ONE", association={"max_associations": 1})
    two = pacs_factory(ae_title="TWO", storage={"disk_threads": 2})
    assert (one.ae_title, two.ae_title) == ("ONE", "TWO")
    assert one.address != two.address
    assert one.settings.association.max_associations == 1
    assert two.settings.storage.disk_threads == 2
    assert two.settings.storage.reserve_bytes == 0


def test_whole_settings_are_taken_as_they_are(tmp_path: Path) -> None:
    storage = StorageSettings(reserve_bytes=0)
    settings = Settings(data_folder=tmp_path / "data", listen=[Listener(port=0)], storage=storage)
    with running_node(settings) as node:
        assert node.settings == settings
    assert (tmp_path / "data" / "archives" / "main" / "index.sqlite").is_file()
    with pytest.raises(TypeError), running_node(settings, ae_title="X"):
        pass


def test_what_keeps_a_node_from_starting_is_raised_where_it_is_started(pacs: RunningNode) -> None:
    before = threading.active_count()
    with (
        pytest.raises(ConfigurationError, match=f"port {pacs.port}"),
        running_node(listen=[{"port": pacs.port}]),
    ):
        pass
    assert threading.active_count() == before


def test_a_fault_in_the_event_loop_is_raised_at_the_end() -> None:
    async def fail_in_a_callback() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)

    with pytest.raises(ExceptionGroup, match="unexpected errors"), running_node() as node:
        node.run(lambda _: fail_in_a_callback())


def _open_things() -> tuple[set[str], int]:
    gc.collect()
    return {thread.name for thread in threading.enumerate()}, psutil.Process().num_fds()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with running_node():
        pass  # what is imported and opened once only
    before = _open_things()
    folders = []
    for _ in range(3):
        with running_node() as node:
            folders.append(node.data_folder)
            _send(node, *_files(tmp_path, make_instance()))
    assert _open_things() == before
    assert not any(folder.exists() for folder in folders)


def test_it_starts_in_under_half_a_second() -> None:
    """The best of several: other tests may want the processor at the same time."""
    taken = []
    for _ in range(5):
        started_at = time.perf_counter()
        with running_node():
            taken.append(time.perf_counter() - started_at)
    assert min(taken) < 0.5


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import pacslite.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(result.stdout.split()) <= {"pacslite", "pacslite.testing", "pacslite.testing.plugin"}
