import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from typer.main import get_command

from pacslite.cli.app import app
from pacslite.settings.keys import all_keys
from pacslite.settings.load import load_settings

if TYPE_CHECKING:
    from pacslite.testing.running import RunningNode

PROJECT = Path(__file__).parents[2]
ADRS = sorted((PROJECT / "docs" / "adr").glob("*.md"))
PAGES = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").rglob("*.md"))]
GENERATED = {"docs/cli.md", "docs/configuration.md"}
HAND_WRITTEN = [
    page for page in PAGES if page not in ADRS and str(page.relative_to(PROJECT)) not in GENERATED
]
MADE_LATER = {
    "bench/results",  # by the benchmark
    "pacslite/migrations",  # in the wheel
}
ADR_SECTIONS = ["Status", "Context", "Decision", "Consequences"]
ROOTS = (
    "archive",
    "client",
    "dimse",
    "index",
    "model",
    "node",
    "services",
    "settings",
    "storage",
    "upperlayer",
)


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)


def blocks_of(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), flags=re.DOTALL | re.MULTILINE)


def links_of(path: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(path)) if "://" not in link]


def anchors_of(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose_of(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def spans_of(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose_of(path))


def commands_of(path: Path) -> Iterator[list[str]]:
    """Yield the commands of the shell blocks and of the code spans that start like one."""
    lines = [line for block in blocks_of(path, "sh") for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *spans_of(path)]:
        words = shlex.split(line.replace("…", ""), comments=True)
        words = [word.removeprefix(".venv/bin/") for word in words]
        if words and words[0] in ("make", "pacslite"):
            yield words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        target, _, anchor = unquote(link).partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert path.is_relative_to(PROJECT), link
        if anchor:
            assert anchor in anchors_of(path), link


def test_every_page_is_two_clicks_from_the_readme() -> None:
    reached = {PROJECT / "README.md"}
    for _ in range(2):
        for page in list(reached):
            for link in links_of(page):
                target = (page.parent / link.partition("#")[0]).resolve()
                reached |= {target, *(target.glob("*.md") if target.is_dir() else ())}
            reached = {page for page in reached if page.suffix == ".md"}
    assert set(PAGES) <= reached


@pytest.mark.parametrize("adr", ADRS, ids=name_of)
def test_every_decision_has_its_sections(adr: Path) -> None:
    number = int(adr.name[:4])
    assert number == ADRS.index(adr) + 1
    assert re.fullmatch(r"\d{4}(-[a-z0-9]+)+\.md", adr.name)
    text = text_of(adr)
    assert re.match(rf"# {number}\. [A-Z].*\n\nDate: \d{{4}}-\d{{2}}-\d{{2}}\n\n## Status\n", text)
    title = text.partition("\n")[0].partition(". ")[2]
    assert adr.stem[5:] == re.sub(r"[^a-z0-9]+", "-", title.lower())
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == ADR_SECTIONS
    assert all(part.strip() for part in parts[2::2])
    assert re.match(r"\n(Proposed|Accepted|Superseded by ADR \d+|Rejected)\b", parts[2])


def test_decisions_refer_to_decisions_that_exist() -> None:
    for page in PAGES:
        for number in re.findall(r"\bADR (\d+)", text_of(page)):
            assert 1 <= int(number) <= len(ADRS), (name_of(page), number)


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_every_command_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(PROJECT / "Makefile"), flags=re.MULTILINE))
    for words in commands_of(page):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        else:
            assert_command_exists(words[1:])


def assert_command_exists(words: list[str]) -> None:
    command: Any = get_command(app)
    while words and not words[0].startswith("-") and words[0] != "COMMAND" and hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}, words


def test_the_commands_of_the_readme_are_checked() -> None:
    words = list(commands_of(PROJECT / "README.md"))
    assert ["make", "run"] in words
    assert ["make", "test"] in words
    assert {word[1] for word in words if word[0] == "pacslite"} >= {"serve", "echo", "send", "stats"}


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_every_name_of_code_or_setting_exists(page: Path) -> None:
    keys = {re.sub(r"\[\]|\.\d+", "", key) for key, _ in all_keys()}
    names = [
        span for span in spans_of(page) if re.fullmatch(rf"(pacslite\.)?({'|'.join(ROOTS)})(\.\w+)+", span)
    ]
    for name in names:
        if name not in keys:
            pkgutil.resolve_name(f"pacslite.{name.removeprefix('pacslite.')}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_in_a_code_span_exists(page: Path) -> None:
    tops = "pacslite|docs|tests|config|migrations|bench"
    paths = [span for span in spans_of(page) if re.fullmatch(rf"({tops})/[\w./-]*", span)]
    for path in paths:
        assert (PROJECT / path).exists() or path in MADE_LATER or "NNNN" in path, path


def test_the_architecture_names_every_package_and_no_other() -> None:
    table = text_of(PROJECT / "docs" / "architecture.md").partition("| Package |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    packages = [path.parent.name for path in (PROJECT / "pacslite").glob("*/__init__.py")]
    assert sorted(named) == sorted(packages)


def test_the_architecture_knows_the_contract_on_imports() -> None:
    layers = tomllib.loads(text_of(PROJECT / "pyproject.toml"))["tool"]["importlinter"]["contracts"][0][
        "layers"
    ]
    in_contract = {name.strip() for layer in layers for name in layer.split("|")}
    packages = {path.parent.name for path in (PROJECT / "pacslite").glob("*/__init__.py")}
    assert in_contract == packages | {"node"}


def test_the_changelog_has_the_version() -> None:
    version = tomllib.loads(text_of(PROJECT / "pyproject.toml"))["project"]["version"]
    headings = re.findall(r"^## (\S+) \(.+\)$", text_of(PROJECT / "CHANGELOG.md"), flags=re.MULTILINE)
    assert headings[0] == version


def test_the_settings_of_the_readme_are_valid_and_closed(tmp_path: Path) -> None:
    (block,) = blocks_of(PROJECT / "README.md", "yaml")
    path = tmp_path / "pacslite.yaml"
    path.write_text(block, encoding="utf-8")
    settings = load_settings(path)
    assert settings.ae_title == "ARCHIVE"
    assert not settings.accepts_unknown_peers


def test_the_example_of_the_readme_passes(pacs: "RunningNode") -> None:
    (block,) = blocks_of(PROJECT / "README.md", "python")
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test(pacs)
    assert len(pacs.received) == 1
