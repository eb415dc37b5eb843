"""Names of files: bytes, patterns, spellings."""

import itertools
import os
import unicodedata

import pytest

from lvm_jax import file_names

LATIN_1 = os.fsdecode(b"caf\xe9")
COMPOSED, APART = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))


def test_bytes_of_names_come_back_whatever_they_are():
    for name in (*(bytes([i, 65, i]) for i in range(1, 256)), "größer €".encode(), b"\xe9\xcc\x81"):
        assert file_names.to_bytes(file_names.from_bytes(name)) == name
    assert file_names.to_bytes(LATIN_1) == b"caf\xe9"


def test_only_the_star_is_special():
    for sign in "[]?!^$.+(){}|\\-":
        assert file_names.matches(f"a{sign}b", f"a{sign}b") and file_names.matches(f"{sign}b", "*b")
        assert not file_names.matches("axb", f"a{sign}b")
    assert not file_names.matches("a", "[a]") and not file_names.matches("A", "a")
    assert file_names.matches("a\nb/c", "a*c") and file_names.matches("", "*")


def test_patterns_match_as_if_every_way_was_tried():
    def slow(name, pattern):
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(slow(name[i:], pattern[1:]) for i in range(len(name) + 1))
        return name[:1] == pattern[0] and slow(name[1:], pattern[1:])

    names = ["".join(each) for size in range(5) for each in itertools.product("ab", repeat=size)]
    patterns = ["".join(p) for size in range(5) for p in itertools.product("ab*", repeat=size)]
    matched = [file_names.matches(name, pattern) for name in names for pattern in patterns]
    assert matched == [slow(name, pattern) for name in names for pattern in patterns]
    some = file_names.Patterns(["ab", "b*a", APART, "*aab"])
    expected = [slow(name, "ab") or slow(name, "b*a") or slow(name, "*aab") for name in names]
    assert [name in some for name in names] == expected
    assert COMPOSED in some and APART in some and "x" not in some
    assert not file_names.matches("a" * 5000 + "c", "*a" * 40 + "b")  # and at once


def test_accents_match_however_they_are_composed():
    assert COMPOSED != APART and file_names.canonical(APART) == COMPOSED
    for name, pattern in itertools.product((COMPOSED, APART), repeat=2):
        assert file_names.matches(f"{name}/x", f"{pattern}*") and file_names.matches(name, pattern)
    assert file_names.canonical(LATIN_1) == LATIN_1 != file_names.canonical("café")


def test_names_are_shown_on_one_line():
    assert file_names.shown("größer |#'") == "größer |#'"
    assert file_names.shown(f"a\n\x1b{LATIN_1}") == "a\\n\\x1bcaf\\udce9"


@pytest.fixture
def root(tmp_path):
    names = ["set [v2]/b/color", "set [v2]/a/color", "set [v2]/.h/color", "set v/a/color", "s?/x"]
    for name in [*names, f"{APART}/k", LATIN_1]:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "s?" / "file").write_text("")
    return tmp_path


def test_expanding_finds_what_is_there(root, monkeypatch):
    def expanded(pattern):
        return [os.path.relpath(path, root) for path in file_names.expand(root / pattern)]

    assert expanded("set [v2]/*/color") == ["set [v2]/a/color", "set [v2]/b/color"]
    assert expanded("set [v2]/.*/color") == ["set [v2]/.h/color"]
    assert expanded("s*/a/c*r") == ["set [v2]/a/color", "set v/a/color"]
    assert expanded("s?/*") == ["s?/file", "s?/x"]
    assert expanded("s?/file/*") == expanded("no/*") == []
    assert expanded(COMPOSED) == [APART] and expanded(f"{COMPOSED[:1]}*/k") == [f"{APART}/k"]
    assert expanded("caf*") == [LATIN_1] == expanded(LATIN_1)
    monkeypatch.chdir(root)
    assert file_names.expand("set v/*/color") == ["set v/a/color"]
    assert file_names.expand("./*v/../s?") == ["set v/../s?"]


def test_names_are_ordered_by_the_numbers_in_them():
    names = ["a10/2.png", "a9/10.png", "a9/2.png", "a9/x\u00b2.png", "b", "10", "9"]
    ordered = ["9", "10", "a9/2.png", "a9/10.png", "a9/x\u00b2.png", "a10/2.png", "b"]
    assert sorted(names, key=file_names.counted) == ordered
