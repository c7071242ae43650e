import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from structlog.testing import capture_logs
from support.command_line import run
from typer.testing import Result

from pacslite.cli.exits import ExitCode
from pacslite.cli.running import run_until_stopped
from pacslite.model.errors import ConfigurationError, DataFolderError
from pacslite.settings.schema import Listener, PeerSettings, Settings

CT = PeerSettings(name="ct", ae_title="CT1", host="192.0.2.1")


class ScriptedNode:
    """Says what was asked of it; sends the process the signals of its script."""

    last: "ScriptedNode"

    def __init__(
        self,
        settings: Settings,
        *,
        on_start: Exception | None = None,
        signals: tuple[signal.Signals, ...] = (),
    ) -> None:
        self.settings = settings
        self.calls: list[str] = []
        self.peers: list[PeerSettings] = []
        self.addresses = [(listener.host, listener.port or 40000) for listener in settings.listen]
        self.on_start = on_start
        self.signals = list(signals)
        self.drains_for_ever = False
        ScriptedNode.last = self

    def raise_next_signal(self) -> None:
        if self.signals:
            asyncio.get_running_loop().call_soon(signal.raise_signal, self.signals.pop(0))

    async def start(self) -> None:
        self.calls.append("start")
        if self.on_start:
            raise self.on_start
        self.raise_next_signal()

    async def drain(self) -> None:
        self.calls.append("drain")
        self.raise_next_signal()
        if self.drains_for_ever:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.calls.append("stop")

    async def reload_peers(self, settings: Settings) -> None:
        self.calls.append("reload_peers")
        self.peers = list(settings.peers)
        self.raise_next_signal()


def ignore(_: list[tuple[str, int]]) -> None:
    """Announce nothing."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_stops(number: signal.Signals) -> None:
    node = ScriptedNode(Settings(), signals=(number,))
    announced: list[tuple[str, int]] = []
    assert await run_until_stopped(node, Settings, announced.extend) == ExitCode.OK
    assert node.calls == ["start", "drain", "stop"]
    assert announced == [("127.0.0.1", 11112)]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once(second: signal.Signals) -> None:
    node = ScriptedNode(Settings(), signals=(signal.SIGTERM, second))
    node.drains_for_ever = True
    assert await run_until_stopped(node, Settings, ignore) == ExitCode.INTERRUPTED
    assert node.calls == ["start", "drain", "stop"]


async def test_sighup_reads_the_peers_again() -> None:
    node = ScriptedNode(Settings(), signals=(signal.SIGHUP, signal.SIGTERM))

    def announce(_: list[tuple[str, int]]) -> None:
        node.raise_next_signal()

    node.signals.insert(0, signal.SIGWINCH)  # start's own, which changes nothing
    assert await run_until_stopped(node, lambda: Settings(peers=[CT]), announce) == ExitCode.OK
    assert node.calls == ["start", "reload_peers", "drain", "stop"]
    assert node.peers == [CT]


async def test_a_mistake_in_the_settings_keeps_the_old_peers() -> None:
    node = ScriptedNode(Settings(), signals=(signal.SIGHUP,))

    def load() -> Settings:
        raise ConfigurationError("pacslite.yaml:1: listn: there is no such setting")

    async def stop_once_told() -> None:
        while not logs:  # noqa: ASYNC110 - a list of logs sets no event
            await asyncio.sleep(0.001)
        signal.raise_signal(signal.SIGTERM)

    with capture_logs() as logs:
        node.signals.insert(0, signal.SIGWINCH)  # start's own, which changes nothing
        stopping = asyncio.create_task(stop_once_told())
        assert await run_until_stopped(node, load, lambda _: node.raise_next_signal()) == ExitCode.OK
        await stopping
    assert node.calls == ["start", "drain", "stop"]
    assert logs == [
        {
            "event": "peers.kept",
            "log_level": "error",
            "reason": "pacslite.yaml:1: listn: there is no such setting",
        }
    ]


async def test_an_error_of_a_start_stays_what_it_is() -> None:
    node = ScriptedNode(Settings(), on_start=DataFolderError("in use"))
    with pytest.raises(DataFolderError, match="in use"):
        await run_until_stopped(node, Settings, ignore)
    assert node.calls == ["start"]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run `pacslite serve` on a node that is told to stop as soon as it has started."""

    class Node(ScriptedNode):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings, signals=(signal.SIGTERM,))

    module = ModuleType("pacslite.node")
    module.Node = Node  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "pacslite.node", module)
    intervals: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", intervals.append)

    def call(*arguments: object) -> Result:
        result = run("serve", "--data", tmp_path, *arguments)
        assert intervals == [0.0005]
        return result

    return call


def test_json_says_where_the_node_is(serve: Callable[..., Result], tmp_path: Path) -> None:
    result = serve("--port", "0", "--aet", "FIXTURE", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "event": "listening",
        "ae_title": "FIXTURE",
        "addresses": [{"host": "127.0.0.1", "port": 40000}],
        "data_folder": str(tmp_path),
        "pid": os.getpid(),
    }
    assert result.stdout.count("\n") == 1


def test_people_are_told_what_to_type_next(serve: Callable[..., Result], tmp_path: Path) -> None:
    lines = [line.strip() for line in serve().stdout.splitlines()]
    assert "echoscu localhost 11112" in lines
    assert "storescu localhost 11112 image.dcm" in lines
    assert "pacslite send PACSLITE@localhost:11112 folder/" in lines
    assert f"data in {tmp_path}" in lines


def test_the_hints_let_a_peer_in(serve: Callable[..., Result]) -> None:
    shown = serve("--bind", "0.0.0.0", "--peer", "MY CT@192.0.2.1:104", "--aet", "MY PACS").stdout
    assert "echoscu -aet 'MY CT' -aec 'MY PACS' localhost 11112" in shown


def test_the_hints_name_an_address_that_answers(serve: Callable[..., Result]) -> None:
    shown = serve("--bind", "192.0.2.9", "--allow-unknown-peers").stdout
    assert "echoscu -aec PACSLITE 192.0.2.9 11112" in shown


def test_options_change_the_first_listener_and_add_peers(
    serve: Callable[..., Result], tmp_path: Path
) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text(
        "listen: [{port: 104}, {port: 11112}]\npeers: [{name: ct, ae_title: CT1, host: 192.0.2.1}]\n"
    )
    assert serve("--config", config, "--port", "4242", "--peer", "A@h:1").exit_code == 0
    settings = ScriptedNode.last.settings
    assert settings.listen == [Listener(port=4242), Listener(port=11112)]
    assert [peer.name for peer in settings.peers] == ["ct", "A@h:1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bind", "0.0.0.0"], "0.0.0.0 can be reached from other machines"),
        (["--peer", "nonsense"], "'nonsense' is no peer: expected AET@host:port"),
        (["--aet", "SEVENTEEN_LETTERS"], "command line: ae_title: an AE title has 1 to 16 characters"),
        (["--peer", "A@h:1", "--peer", "A@h:1"], "stands there twice"),
    ],
)
def test_wrong_options_are_configuration_errors(arguments: list[str], message: str) -> None:
    result = run("serve", *arguments)
    assert result.exit_code == ExitCode.CONFIGURATION
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
