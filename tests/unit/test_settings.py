from pathlib import Path

import pytest
from pydantic import ValidationError

from pacslite.model.errors import ConfigurationError
from pacslite.settings.load import SettingsError, load_settings
from pacslite.settings.peers import find_peer, parse_peer
from pacslite.settings.schema import (
    AdmissionSettings,
    ArchiveSettings,
    Listener,
    PeerSettings,
    Section,
    Settings,
    StorageSettings,
)

CT = PeerSettings(name="ct", ae_title="CT1", host="192.0.2.1")


def test_without_configuration_the_node_is_open_to_this_machine_only() -> None:
    settings = Settings()
    assert settings.is_loopback_only
    assert settings.accepts_any_called_ae
    assert settings.accepts_unknown_peers
    assert settings.archives[0].titles(settings) == ["PACSLITE"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST", "[::1]"])
def test_loopback_hosts(host: str) -> None:
    assert Settings(listen=[Listener(host=host)]).is_loopback_only


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pacs.example"])
def test_a_listener_that_others_can_reach_needs_peers_or_consent(host: str) -> None:
    listen = [Listener(), Listener(host=host)]
    with pytest.raises(ValidationError, match="can be reached from other machines"):
        Settings(listen=listen)
    with pytest.raises(ValidationError, match="can be reached from other machines"):
        Settings(listen=listen, admission=AdmissionSettings(allow_unknown_peers=False))
    known = Settings(listen=listen, peers=[CT])
    assert not known.accepts_unknown_peers
    assert not known.accepts_any_called_ae
    anyone = Settings(listen=listen, admission=AdmissionSettings(allow_unknown_peers=True))
    assert anyone.accepts_unknown_peers
    assert not anyone.accepts_any_called_ae


def test_a_peer_closes_the_loopback_node_too() -> None:
    settings = Settings(peers=[CT])
    assert not settings.accepts_any_called_ae
    assert not settings.accepts_unknown_peers


def test_an_explicit_choice_wins() -> None:
    closed = Settings(admission=AdmissionSettings(accept_any_called_ae=False, allow_unknown_peers=False))
    assert not closed.accepts_any_called_ae
    assert not closed.accepts_unknown_peers
    opened = Settings(
        peers=[CT], admission=AdmissionSettings(accept_any_called_ae=True, allow_unknown_peers=True)
    )
    assert opened.accepts_any_called_ae
    assert opened.accepts_unknown_peers


def test_each_archive_has_its_own_titles() -> None:
    settings = Settings(
        archives=[ArchiveSettings(), ArchiveSettings(name="research", ae_titles=["DEID", "ANON"])]
    )
    assert [archive.titles(settings) for archive in settings.archives] == [["PACSLITE"], ["DEID", "ANON"]]


@pytest.mark.parametrize(
    ("archives", "message"),
    [
        ([ArchiveSettings(), ArchiveSettings(ae_titles=["B"])], "the name 'main' stands there twice"),
        ([ArchiveSettings(), ArchiveSettings(name="b")], "the AE title 'PACSLITE' stands there twice"),
        ([ArchiveSettings(ae_titles=["A", "A"])], "the AE title 'A' stands there twice"),
    ],
)
def test_archives_must_differ(archives: list[ArchiveSettings], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(archives=archives)


def test_archives_do_not_share_an_index_and_its_password_is_not_told() -> None:
    url = "postgresql://node:secret@db/index"
    archives = [
        ArchiveSettings(ae_titles=["A"], index_url=url),
        ArchiveSettings(name="b", ae_titles=["B"], index_url=url),
    ]
    with pytest.raises(ValidationError, match="two archives have the same index_url") as caught:
        Settings(archives=archives)
    assert "secret" not in str(caught.value)


def test_titles_that_differ_in_case_only_clash_where_case_is_ignored() -> None:
    archives = [ArchiveSettings(ae_titles=["a"]), ArchiveSettings(name="b", ae_titles=["A"])]
    Settings(archives=archives)
    with pytest.raises(ValidationError, match="stands there twice"):
        Settings(archives=archives, admission=AdmissionSettings(ignore_ae_title_case=True))


def test_peers_must_differ_by_name() -> None:
    with pytest.raises(ValidationError, match="the name 'ct' stands there twice"):
        Settings(peers=[CT, CT])


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "A\\B", "A\nB", "A\x7fB", "\u00c4"])
def test_bad_ae_titles(title: str) -> None:
    with pytest.raises(ValidationError, match="an AE title has"):
        Settings(ae_title=title)


def test_spaces_around_an_ae_title_do_not_count() -> None:
    assert Settings(ae_title="  MY PACS ").ae_title == "MY PACS"


@pytest.mark.parametrize("name", ["", "a/b", "..", "A", "a_b", "x" * 33, "a\n"])
def test_names_that_become_folders_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        ArchiveSettings(name=name)
    with pytest.raises(ValidationError):
        Settings(node_name=name)


@pytest.mark.parametrize("host", ["", " ", "a b", "a@b", "a/b", "1:2:3", "[1.2.3.4]", "a\0"])
def test_bad_hosts(host: str) -> None:
    with pytest.raises(ValidationError):
        Listener(host=host)


@pytest.mark.parametrize("port", [-1, 65536])
def test_bad_ports_to_listen_on(port: int) -> None:
    with pytest.raises(ValidationError):
        Listener(port=port)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_bad_ports_of_peers(port: int) -> None:
    with pytest.raises(ValidationError):
        PeerSettings(name="a", ae_title="A", host="a", port=port)


def test_addresses_of_a_peer_are_blocks() -> None:
    peer = PeerSettings(name="a", ae_title="A", host="a", addresses=["10.0.0.7/24", "::1"])
    assert peer.addresses == ["10.0.0.0/24", "::1/128"]
    with pytest.raises(ValidationError, match="expected an IP address or a block"):
        PeerSettings(name="a", ae_title="A", host="a", addresses=["ten"])


def test_an_object_must_fit_into_the_quota() -> None:
    with pytest.raises(ValidationError, match="no such object could arrive"):
        StorageSettings(max_open_bytes=5, max_object_bytes=6)


def test_private_transfer_syntaxes_are_uids() -> None:
    ArchiveSettings(private_transfer_syntaxes=["1.2.840.113619.5.2"])
    with pytest.raises(ValidationError, match="expected a UID"):
        ArchiveSettings(private_transfer_syntaxes=["GE"])


def test_a_database_password_is_not_shown() -> None:
    archive = ArchiveSettings(index_url="postgresql+psycopg://pacs:geheim@db/pacs")
    assert "geheim" not in repr(Settings(archives=[archive]))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().ae_title = "OTHER"


def test_every_setting_explains_itself() -> None:
    undescribed = [
        f"{section.__name__}.{name}"
        for section in Section.__subclasses__()
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT1@192.0.2.1:11112", ("CT1", "192.0.2.1", 11112)),
        ("CT1@ct.example", ("CT1", "ct.example", 104)),
        ("CT1@[2001:db8::1]:4242", ("CT1", "2001:db8::1", 4242)),
        ("CT1@[::1]", ("CT1", "::1", 104)),
        ("MY PACS@localhost:104", ("MY PACS", "localhost", 104)),
        ("A@B@localhost:104", ("A@B", "localhost", 104)),
    ],
)
def test_a_peer_is_written_with_title_host_and_port(text: str, expected: tuple[str, str, int]) -> None:
    peer = parse_peer(text)
    assert (peer.ae_title, peer.host, peer.port) == expected
    assert peer.name == text
    assert parse_peer(str(peer)) == parse_peer(str(peer)).model_copy(update={"name": str(peer)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CT1",
        "@host:1",
        "CT1@",
        "CT1@host:",
        "CT1@host:x",
        "CT1@host:0",
        "CT1@host:65536",
        "CT1@::1:104",
        "CT1@[nonsense]:104",
        "A\\B@host:104",
        "SEVENTEEN_LETTERS@host:104",
        "CT1@ho st:104",
    ],
)
def test_what_is_no_peer(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no peer"):
        parse_peer(text)


def test_a_peer_is_found_by_its_name_first() -> None:
    settings = Settings(peers=[CT])
    assert find_peer(settings, "ct") is settings.peers[0]
    assert find_peer(settings, "X@host:1").ae_title == "X"
    with pytest.raises(ConfigurationError, match=r"no peer is named 'cta'; did you mean 'ct'\?"):
        find_peer(settings, "cta")
    with pytest.raises(ConfigurationError, match="write AET@host:port"):
        find_peer(Settings(), "ct")


def test_the_environment_sets_single_values() -> None:
    environ = {
        "PATH": "/bin",
        "PACSLITE_AE_TITLE": "12345",
        "PACSLITE_DATA_FOLDER": "/srv/data",
        "PACSLITE_STORAGE__RESERVE_BYTES": "5_000",
        "PACSLITE_ADMISSION__ALLOW_UNKNOWN_PEERS": "true",
        "PACSLITE_LISTEN": "[{host: 0.0.0.0, port: 104}]",
        "PACSLITE_LOGGING__FORMAT": "json",
        "PACSLITE_ASSOCIATION__ARTIM_SECONDS": "5",
    }
    settings = load_settings(environ=environ)
    assert settings.ae_title == "12345"
    assert settings.data_folder == Path("/srv/data")
    assert settings.storage.reserve_bytes == 5000
    assert settings.listen == [Listener(host="0.0.0.0", port=104)]
    assert settings.logging.format == "json"
    assert settings.association.artim_seconds == 5.0


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PACSLITE_STORAGE__RESRVE_BYTES", "1", "did you mean PACSLITE_STORAGE__RESERVE_BYTES?"),
        ("PACSLITE_RESERVE_BYTES", "1", "did you mean PACSLITE_STORAGE__RESERVE_BYTES?"),
        ("PACSLITE_NONSENSE", "1", "PACSLITE_NONSENSE: there is no such setting"),
        ("PACSLITE_AE_TITLE__X", "1", "PACSLITE_AE_TITLE__X: there is no such setting"),
        ("PACSLITE_LISTEN__PORT", "1", "give PACSLITE_LISTEN the whole list, as YAML"),
        ("PACSLITE_LISTEN", "[", "environment variable PACSLITE_LISTEN: not valid YAML"),
        (
            "PACSLITE_STORAGE__RESERVE_BYTES",
            "1 GiB",
            "storage.reserve_bytes: expected a whole number, not '1 GiB'",
        ),
        ("PACSLITE_STORAGE__RESERVE_BYTES", "-1", "expected greater than or equal to 0, not -1"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={variable: value})
    assert variable in str(caught.value)
    assert message in str(caught.value)


def test_overrides_win_over_the_environment() -> None:
    settings = load_settings(
        environ={"PACSLITE_AE_TITLE": "ENV", "PACSLITE_LISTEN": "[{port: 1}, {port: 2}]"},
        overrides={"ae_title": "OVER", "listen.0.port": 0, "peers+": [CT]},
    )
    assert settings.ae_title == "OVER"
    assert settings.listen == [Listener(port=0), Listener(port=2)]
    assert settings.peers == [CT]


def test_a_wrong_override_is_named() -> None:
    with pytest.raises(
        SettingsError, match=r"command line: listen\.0\.port: expected less than or equal to 65535"
    ):
        load_settings(overrides={"listen.0.port": 70000})
