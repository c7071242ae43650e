import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field
from typer.main import get_command

from pacslite.cli.app import app
from pacslite.settings.load import load_settings
from pacslite.settings.peers import find_peer
from pacslite.settings.schema import Settings

PROJECT = Path(__file__).parents[2]
DOCKER_SETTINGS = PROJECT / "config" / "docker.yaml"
BUILD = {"FROM", "WORKDIR", "COPY", "RUN"}
RUNTIME = {"USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines()]


def last(name: str) -> str:
    return [value for instruction, value in instructions() if instruction == name][-1]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(number for number, (name, _) in enumerate(found) if name == "FROM") :]


def copied(arguments: str) -> list[str]:
    words = shlex.split(arguments)
    return [] if words[0].startswith("--from=") else words[:-1]


def is_sent_to_the_engine(path: str) -> bool:
    rules = (PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
    is_sent = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        if fnmatch(path.partition("/")[0], pattern) or fnmatch(path, pattern):
            is_sent = rule.startswith("!")
    return is_sent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Service(Strict):
    build: str
    image: str = Field(pattern=r"^[a-z0-9][a-z0-9._/:-]*$")
    ports: list[str]
    volumes: list[str]
    cap_drop: list[str]
    security_opt: list[str]
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    stop_grace_period: str = Field(pattern=r"^(\d+h)?(\d+m)?(\d+s)?$")


class Compose(Strict):
    """What the file uses of https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json."""

    services: dict[str, Service]
    volumes: dict[str, None]


@pytest.fixture
def compose() -> Compose:
    return Compose.model_validate(
        yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
    )


def test_the_image_is_built_from_known_instructions() -> None:
    names = [name for name, _ in instructions()]
    assert names[0] == "FROM"
    assert set(names) <= BUILD | RUNTIME


def test_the_image_has_a_python_that_the_project_supports() -> None:
    bases = {value.split(" ")[0] for name, value in instructions() if name == "FROM"}
    assert bases == {"python:3.11-slim"}


def test_everything_copied_exists_and_reaches_the_engine() -> None:
    sources = [source for name, value in instructions() if name == "COPY" for source in copied(value)]
    assert {"pyproject.toml", "pacslite", "migrations", "config/docker.yaml"} <= set(sources)
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert is_sent_to_the_engine(source), source


def test_what_is_private_or_large_stays_here() -> None:
    for path in (".git", ".venv", "data", "tests", "bench"):
        assert not is_sent_to_the_engine(path)


def test_what_the_build_reads_is_copied_before_it() -> None:
    steps = instructions()
    install = next(
        number for number, (name, value) in enumerate(steps) if name == "RUN" and "pip install" in value
    )
    before = {source for name, value in steps[:install] if name == "COPY" for source in copied(value)}
    pyproject = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert {"pyproject.toml", "README.md", "LICENSE", "pacslite", "migrations"} <= before
    assert 'readme = "README.md"' in pyproject
    assert '"migrations" = "pacslite/migrations"' in pyproject


def test_the_node_is_not_root_and_owns_its_data() -> None:
    user = last("USER")
    assert user not in ("root", "0")
    make_user = next(value for name, value in final_stage() if name == "RUN")
    assert f" {user} " in make_user
    assert f"--owner={user}" in make_user
    assert last("VOLUME") == "/data"
    assert "/data" in make_user


def test_signals_reach_the_node() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["pacslite"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_commands_of_the_image_are_commands_of_the_program() -> None:
    settings_file = next(
        shlex.split(value)[-1] for name, value in final_stage() if "config/docker.yaml" in value
    )
    health = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    commands: Any = get_command(app)
    for words in (json.loads(last("CMD")), health[1:]):
        command = commands.commands[words[0]]
        assert any("--config" in parameter.opts for parameter in command.params)
        assert words[words.index("--config") + 1] == settings_file
    assert health[0] == "pacslite"
    assert find_peer(load_settings(DOCKER_SETTINGS), health[-1]).name == "self"


def test_the_settings_of_the_image_are_valid_and_closed() -> None:
    settings = load_settings(DOCKER_SETTINGS)
    assert settings.data_folder == Path("/data")
    assert [(listener.host, listener.port) for listener in settings.listen] == [("0.0.0.0", 11112)]
    assert not settings.accepts_unknown_peers
    assert not settings.accepts_any_called_ae


def test_the_health_check_calls_as_a_peer_that_is_let_in() -> None:
    settings = load_settings(DOCKER_SETTINGS)
    peer = find_peer(settings, "self")
    assert peer.ae_title == settings.ae_title
    assert (peer.host, peer.port) == ("127.0.0.1", settings.listen[0].port)


def test_the_commented_peer_of_the_image_is_valid(tmp_path: Path) -> None:
    lines = DOCKER_SETTINGS.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "docker.yaml"
    path.write_text("\n".join(re.sub(r"^  # (- name|  )", r"  \1", line) for line in lines))
    assert [peer.name for peer in load_settings(path).peers] == ["self", "ct-room-1"]


def test_compose_describes_one_node(compose: Compose) -> None:
    (service,) = compose.services.values()
    assert service.build == "."
    assert service.ports == ["104:11112", "11112:11112"]
    exposed = last("EXPOSE").split(" ")
    assert exposed == ["104", "11112"]
    listening = {str(listener.port) for listener in load_settings(DOCKER_SETTINGS).listen}
    assert {port.split(":")[1] for port in service.ports} <= listening & set(exposed)


def test_compose_mounts_what_exists_where_the_image_looks(compose: Compose) -> None:
    (service,) = compose.services.values()
    mounts = [volume.split(":") for volume in service.volumes]
    named = [mount for mount in mounts if not mount[0].startswith(".")]
    bound = [mount for mount in mounts if mount[0].startswith(".")]
    assert [mount[0] for mount in named] == list(compose.volumes)
    assert [mount[1] for mount in named] == [last("VOLUME")]
    for source, target, mode in bound:
        assert (PROJECT / source).is_file()
        assert target in json.loads(last("CMD"))
        assert mode == "ro"


def test_compose_waits_longer_than_the_drain(compose: Compose) -> None:
    (service,) = compose.services.values()
    seconds = float(service.stop_grace_period.removesuffix("s"))
    assert seconds > load_settings(DOCKER_SETTINGS).association.drain_seconds


def test_the_unit_file_of_the_manual_is_complete() -> None:
    manual = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    unit = manual.partition("```ini\n")[2].partition("```")[0]
    entries = dict(
        line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#")
    )
    assert entries["AmbientCapabilities"] == entries["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    assert entries["User"] not in ("root", "0")
    assert float(entries["TimeoutStopSec"]) > Settings().association.drain_seconds
    assert shlex.split(entries["ExecStart"])[1:3] == ["serve", "--config"]
    assert "HUP" in entries["ExecReload"]
