import contextlib
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pacslite.model.errors import ConfigurationError
from pacslite.settings.document import variable_name
from pacslite.settings.keys import all_keys
from pacslite.settings.load import SettingsError, load_settings
from pacslite.settings.schema import PeerSettings, Settings

PROJECT = Path(__file__).parents[2]
CONFIG = PROJECT / "config" / "pacslite.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "pacslite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_says_the_defaults() -> None:
    assert load_settings(CONFIG) == Settings()


def test_the_shipped_file_has_every_key_and_only_these() -> None:
    def keys(value: object, prefix: str = "") -> set[str]:
        if isinstance(value, list):
            return set().union(*(keys(item, f"{prefix[:-1]}[].") for item in value)) if value else set()
        if not isinstance(value, dict):
            return set()
        return set().union(*({prefix + key} | keys(value[key], f"{prefix}{key}.") for key in value))

    schema = {key for key, _ in all_keys() if not key.startswith("peers[]")}
    assert keys(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))) == schema


def test_the_commented_peer_of_the_shipped_file_is_complete_and_valid(tmp_path: Path) -> None:
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("#   - name:"))
    example = "\n".join(line.removeprefix("#") for line in lines[start : start + 5])
    (peer,) = load_settings(write(tmp_path, f"peers:\n{example}\n")).peers
    assert peer.model_fields_set == set(PeerSettings.model_fields)


def test_an_empty_file_and_empty_sections_are_the_defaults(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "")) == Settings()
    assert load_settings(write(tmp_path, "storage:\n  # reserve_bytes: 5\npeers:\n")) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("storage:\n  reserve_byte: 5\n", "there is no such setting; did you mean storage.reserve_bytes?"),
        ("listn: []\n", ":1: listn: there is no such setting; did you mean listen?"),
        ("reserve_bytes: 5\n", "did you mean storage.reserve_bytes?"),
        ("peers:\n  - name: a\n    aet: A\n    host: h\n", ":3: peers.0.aet: there is no such setting"),
        ("peers:\n  - name: a\n    host: h\n", ":2: peers.0.ae_title: is missing"),
        ("ae_title: 123\n", ":1: ae_title: expected text; put it in quotes, not 123"),
        ("listen:\n  - port: '104'\n", ":2: listen.0.port: expected a whole number, not '104'"),
        ("listen:\n  - port: yes\n", "expected a whole number, not True"),
        ("listen: 104\n", ":1: listen: expected a list, not 104"),
        ("listen: []\n", ":1: listen: expected at least one item"),
        ("storage: 5\n", ":1: storage: expected keys with values, not 5"),
        ("storage:\n  keep_unparsable: 1\n", "expected true or false, not 1"),
        ("ae_title: null\n", "ae_title: expected text; put it in quotes, not nothing"),
        ("data_folder: ''\n", "data_folder: expected the path of a folder"),
        ("data_folder: 5\n", "data_folder: expected the path of a folder"),
        ("association:\n  artim_seconds: soon\n", "expected a number, not 'soon'"),
        ("association:\n  artim_seconds: .inf\n", "association.artim_seconds: expected a finite number"),
        ("logging:\n  level: verbose\n", "'debug', 'info', 'warning' or 'error', not 'verbose'"),
        ("archives:\n  - duplicate_policy: newest\n", "expected 'keep-first', 'replace-same-source'"),
        ("node_name: A\n", "node_name: should match pattern"),
        ("ae_title: A\nlisten: []\nae_title: B\n", ":3: ae_title: this key stands there twice"),
        ("storage:\n  disk_threads: 1\n  disk_threads: 1\n", ":3: storage.disk_threads: this key stands"),
        ("ae_title: A\nlisten:\n  - host: 0.0.0.0\n", ":2: listen: 0.0.0.0 can be reached"),
        ("storage:\n  max_object_bytes: 99999999999\n", ":2: storage.max_object_bytes: is larger than"),
        ("5: 6\n", "5: a key is a word"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, "ae_title: 1\nnode_name: 2\nnode_name: 3\n"))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected keys with values"),
        ("just words\n", "expected keys with values"),
        ("a: [1\n", ":2: not valid YAML"),
        ("a: !!python/object:os.system x\n", ":1: not valid YAML"),
        ("a: &a [*a]\n", ":1: not valid YAML: a value contains itself"),
        ("a: 2026-02-31\n", "not valid YAML"),
        ("a: \x00\n", "not valid YAML"),
        ("? [1]\n: 2\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
    ],
)
def test_what_is_no_settings_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, text))
    assert message in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"ae_title: \xc4\n")
    with pytest.raises(ConfigurationError, match="cannot be read: it is not UTF-8 text"):
        load_settings(latin)


def test_a_password_in_the_file_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, "archives:\n  - index_url: 'pacs:geheim@db'\n"))
    assert "archives.0.index_url" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_an_option_cannot_hide_a_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected a list"):
        load_settings(write(tmp_path, "listen: 5\n"), overrides={"listen.0.port": 0})
    with pytest.raises(ConfigurationError, match="expected a list"):
        load_settings(write(tmp_path, "peers: 5\n"), overrides={"peers+": []})
    with pytest.raises(ConfigurationError, match="expected keys with values"):
        load_settings(write(tmp_path, "storage: [5]\n"), {"PACSLITE_STORAGE__RESERVE_BYTES": "5"})


KEYS = st.sampled_from([name.rpartition(".")[2] for name, _ in all_keys()] + ["<<", "listn"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5).map(yaml.safe_dump) | st.text())
def test_any_file_is_settings_or_a_configuration_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pacslite.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            settings = load_settings(path, overrides={"listen.0.port": 0, "peers+": []})
        except ConfigurationError as error:
            assert str(path) in str(error)  # noqa: PT017 - most examples are errors, and each must say where
        else:
            assert settings.listen[0].port == 0


@given(st.dictionaries(KEYS.map(lambda key: variable_name(key.replace("\0", ""))), st.text(), max_size=3))
def test_any_environment_is_settings_or_a_configuration_error(environ: dict[str, str]) -> None:
    with contextlib.suppress(ConfigurationError):
        load_settings(environ=environ)
