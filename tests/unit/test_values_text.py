"""Text and person names: character sets, padding, forms for matching."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.model.names import fold_groups, normalize_name, normalize_names
from pacslite.model.text import clean, clean_values, decode_text, encodings_of, fold


@pytest.mark.parametrize(
    ("term", "raw", "text"),
    [
        (b"ISO_IR 100", b"J\xe9r\xf4me", "Jérôme"),
        (b"ISO IR 100", b"J\xe9r\xf4me", "Jérôme"),
        (b"ISO_IR 100\\", b"J\xe9r\xf4me", "Jérôme"),
        (b"iso-ir-100 ", b"J\xe9r\xf4me", "Jérôme"),
        (b"ISO_8859-1", b"J\xe9r\xf4me", "Jérôme"),
        (b"ISO 2022 IR 6", b"J\xe9r\xf4me", "Jérôme"),
        (b"", b"J\xe9r\xf4me", "Jérôme"),
        (b"UTF8", "Jérôme".encode(), "Jérôme"),
        (b"utf-8\0", "Jérôme".encode(), "Jérôme"),
        (b"ISO_IR 192", "山田".encode(), "山田"),
        (b"ISO_IR_192", "山田".encode(), "山田"),
        (b"ISO_IR 144", "Люксембург".encode("iso8859_5"), "Люксембург"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"GBK", "王^小东".encode("gbk"), "王^小东"),
        (b"\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
        (b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J", "ﾔﾏﾀﾞ=山田"),
        (b"\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3", "Hong=洪"),
    ],
)
def test_s30_character_sets_are_taken_for_the_closest(term: bytes, raw: bytes, text: str) -> None:
    assert decode_text(raw, encodings_of(term), is_name=True) == text


@pytest.mark.parametrize("term", [b"ISO_IR 999", b"ISO_IR 1OO", b"KLINGON"])
def test_s30_bytes_of_an_unknown_set_become_replacement_characters(term: bytes) -> None:
    assert decode_text(b"J\xe9r", encodings_of(term)) == "J\ufffdr"


def test_m12_code_extension_ends_at_a_delimiter_of_names() -> None:
    raw = b"\x1b$)C\xb1\xe8^\xe9"
    assert decode_text(raw, "latin_1", is_name=True) == "김^é"


def test_m12_a_backslash_byte_inside_a_character_is_no_delimiter() -> None:
    raw = "誠\\b".encode("gbk")
    assert raw.count(b"\\") == 2
    assert clean_values(decode_text(raw, "gbk")) == ("誠", "b")


def test_an_unknown_escape_sequence_is_dropped_with_its_escape() -> None:
    assert decode_text(b"a\x1b!Zb", "latin_1") == "a!Zb"


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_any_bytes_become_text_that_any_database_takes(raw: bytes, term: bytes) -> None:
    text = clean(decode_text(raw, encodings_of(term), is_name=True))
    text.encode("utf-8")
    assert "\0" not in text
    assert text == text.strip()
    assert unicodedata.is_normalized("NFC", text)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  DOE  ", "DOE"),
        ("DOE\0", "DOE"),
        ("a\r\nb", "a  b"),
        ("a\x07b\x85", "a b"),
        ("Jérôme", "Jérôme"),
    ],
)
def test_m6_m31_padding_and_control_characters_go(raw: str, text: str) -> None:
    assert clean(raw) == text


def test_lines_of_long_text_stay() -> None:
    assert clean("a\r\nb\0 ", keeps_lines=True) == "a\r\nb"


def test_values_of_many_are_cleaned_each() -> None:
    assert clean_values(" A \\B\\") == ("A", "B", "")
    assert clean_values(" \\ ") == ()
    assert clean_values("") == ()


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("DOE^JOHN^^^", "DOE^JOHN"),
        ("DOE^JOHN^^^==", "DOE^JOHN"),
        (" DOE ^ JOHN ", "DOE^JOHN"),
        ("DOE^^^DR", "DOE^^^DR"),
        ("=山田^太郎", "=山田^太郎"),
        ("A^=B^=C^", "A=B=C"),
        ("^^=^", ""),
    ],
)
def test_m7_trailing_delimiters_go(raw: str, name: str) -> None:
    assert normalize_name(raw) == name


def test_names_of_many() -> None:
    assert normalize_names("DOE^\\ROE^^") == ("DOE", "ROE")
    assert normalize_names("^\\^") == ()


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("yamada^tarou", "山田^太郎", "やまだ^たろう")),
        ("Buc^Jérôme", ("buc^jerome", "", "")),
        ("=山田", ("", "山田", "")),
        ("A=B=C=D", ("a", "b", "c=d")),
    ],
)
def test_m9_component_groups_are_folded_apart(name: str, groups: tuple[str, ...]) -> None:
    assert fold_groups(name) == groups


@pytest.mark.parametrize(
    ("left", "right"),
    [("JÉRÔME", "jerome"), ("Straße", "STRASSE"), ("ﾔﾏﾀﾞ", "ヤマダ"), ("\uff21", "a"), ("Łódź", "łodz")],
)
def test_m5_names_fold_alike_regardless_of_case_accent_and_width(left: str, right: str) -> None:
    assert fold(left) == fold(right)


def test_a_voiced_kana_stays_another_letter() -> None:
    assert fold("が") != fold("か")


@given(st.text(max_size=40))
def test_folding_and_normalizing_twice_is_folding_and_normalizing_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert normalize_name(normalize_name(text)) == normalize_name(text)
