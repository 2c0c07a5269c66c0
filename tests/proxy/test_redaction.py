"""What is taken out of text, what is left alone, and that nobody can make it slow."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from proxy.redaction import BINARY, DROPPED, LONGEST, Redaction, compiled

PLAIN = Redaction(str)

TAKEN = [
    ("sk-proj-0123456789abcdef", "[key]"),
    ("x=mp-abcdefgh12345678.", "x=[key]"),
    ("token AIzaSyA-0123456789_0123456789", "token [key]"),
    ("ghp_0123456789abcdef0123", "[key]"),
    ("github_pat_0123456789abcdef0123", "[key]"),
    ("xoxb-1234-5678-abcdefgh", "[key]"),
    ("AKIAIOSFODNN7EXAMPLE", "[key]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def", "[key]"),
    ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer [key]"),
    ("postgres://ada:secret@host/db", "postgres://[key]@host/db"),
    ("4111111111111111", "[card]"),
    ("pay 4111 1111 1111 1111 now", "pay [card] now"),
    ("5500-0000-0000-0004", "[card]"),
    ("3782 822463 10005", "[card]"),
    ("1234 4111 1111 1111 1111", "1234 [card]"),
    ("4111\u00a01111\u00a01111\u00a01111", "[card]"),
    ("DE89370400440532013000", "[iban]"),
    ("DE89 3704 0044 0532 0130 00 AND MORE", "[iban] AND MORE"),
    ("to gb29 nwbk 6016 1331 9268 19.", "to [iban]."),
    ("a.b+c@example.co.uk, really", "[email], really"),
    ("mailto:ada%40example.org", "mailto:[email]"),
    ("jürgen@müller.de", "[email]"),
    ("<ada@example.org>.", "<[email]>."),
    ("call +49 (0)30 1234567", "call [phone]"),
    ("0049 30 1234567", "[phone]"),
    ("(555) 123-4567", "[phone]"),
    ("555-123-4567", "[phone]"),
    ("030 / 1234567", "[phone]"),
    ("npm_0123456789abcdefghijABCDEFGHIJ012345", "[key]"),
    ("ya29.a0AfH6SMBx0123456789", "[key]"),
    ("SG.0123456789abcdefghij.0123456789abcdefghij", "[key]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES\n\nMIIE\n-----END RSA PRIVATE KEY-----", "[key]"),
    ("postgres://ada:p@ss@host/db", "postgres://[key]@host/db"),
    ('password = "hunter2"; ok', 'password = "[secret]"; ok'),
    ("API_KEY: 0123456789abcdef", "API_KEY: [secret]"),
    ("my password is hunter2", "my password is [secret]"),
    ('{"client_secret":"0a1b2c3d4e5f"}', '{"client_secret":"[secret]"}'),
    ("4111.1111.1111.1111", "[card]"),
    ("4111\t1111\t1111\t1111", "[card]"),
    ("4111  1111  1111  1111", "[card]"),
    ("n=4111+1111+1111+1111", "n=[card]"),
    ("4111%201111%201111%201111", "[card]"),
    ("4111_1111_1111_1111", "[card]"),
    ("4111\u200b1111\u200b1111\u200b1111", "[card]"),
    ("\uff14" + "\uff11" * 15, "[card]"),
    ("no.4111111111111111", "no.[card]"),
    ("12/27 4111111111111111", "12/27 [card]"),
    ("IBANDE89370400440532013000", "IBAN[iban]"),
    ("DE89.3704.0044.0532.0130.00", "[iban]"),
    ("DE 89  3704  0044  0532  0130  00", "[iban]"),
    ('"ada l"@example.org', "[email]"),
    ("ada@[192.168.0.1]", "[email]"),
    ("ada\uff20example.org", "[email]"),
    ("07700900123", "[phone]"),
    ("tel: 4155552671", "tel: [phone]"),
    ("+ 49 30 901820", "[phone]"),
    ("138-0013-8000 or 98765 43210", "[phone] or [phone]"),
]
LEFT = [
    "4111 1111 1111 1112",
    "1795226400000000",
    "0.4111111111111111",
    "DE21 3012 3412 3412 3412 35",
    "XX89370400440532013000",
    "21-11-2026 and 01-12-2026",
    "2026-11-21T02:10:34Z",
    "10.0.0.1 and 192.168.100.200",
    "version 3.11.4, 12 + 34 = 46",
    "a @ b, @home, me@here",
    "sky-high, task-force, mp3",
    "SELECT id FROM t WHERE n > 1234567",
    "1.4111111111111111",
    "2026-11-22 2026-11-23",
    "the hotel 1234567, phone 2026-11-22",
    "the password is required, secret: none of your business",
    "the secretary: 12345a",
    "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    "http://host:8080/a@b",
]


@pytest.mark.parametrize(("text", "kept"), TAKEN, ids=[text for text, _ in TAKEN])
def test_what_must_not_be_kept_is_taken_out(text: str, kept: str) -> None:
    assert PLAIN.text(text) == kept


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert PLAIN.text(text) == text


def test_kinds_are_chosen() -> None:
    assert Redaction(str, frozenset({"email"})).text("4111111111111111 ada@example.org") == "4111111111111111 [email]"


def test_values_are_cleaned_to_their_leaves() -> None:
    value = {"ada@example.org": [4111111111111111, 4111111111111111.0, True, None, 1.5, 12, {"x": "+49 30 1234567"}]}

    assert PLAIN.value(value) == {"[email]": ["[card]", "[card]", True, None, 1.5, 12, {"x": "[phone]"}]}


def test_a_field_that_is_called_a_secret_is_one() -> None:
    value = {
        "password": "correct horse",
        "db_api_key": "x",
        "secret": "",
        "token": "Hi",
        "properties": {"secret": {"type": "string"}},
    }

    assert PLAIN.value(value) == {**value, "password": "[secret]", "db_api_key": "[secret]"}


def test_a_file_is_told_by_its_length_and_hash() -> None:
    found = PLAIN.value({"data": "data:image/png;base64," + "A" * BINARY})["data"]

    assert found.startswith(f"[file: {BINARY + 22} characters, sha256 ")


def test_known_secrets_go_first() -> None:
    assert Redaction(lambda text: text.replace("hunter2", "[secret]")).text("it is hunter2") == "it is [secret]"


def test_long_text_is_cleaned_wherever_it_is_cut() -> None:
    line = "Some words of an ordinary kind, 4111 1111 1111 1111 and ada@example.org.\n"
    cleaned = PLAIN.text(line * 5000)

    assert cleaned == "Some words of an ordinary kind, [card] and [email].\n" * 5000


def test_long_json_is_cleaned_wherever_it_is_cut() -> None:
    rows = [{"to": "ada@example.org", "n": "4111 1111 1111 1111"}] * 5000

    for text in (json.dumps(rows, separators=(",", ":")), json.dumps(json.dumps(rows, separators=(",", ":")))):
        cleaned = PLAIN.text(text)
        assert (cleaned.count("[email]"), cleaned.count("[card]")) == (5000, 5000)
        assert len(cleaned) == len(text) - 5000 * (len("ada@example.org") - 7 + 19 - 6)


def test_text_without_any_end_is_not_kept() -> None:
    assert PLAIN.text("1 " * LONGEST) == f"[text: {2 * LONGEST} characters]"


def test_rules_replace_by_their_name() -> None:
    assert Redaction(str, rules=compiled({"staff": r"E-\d+"})).text("E-12 and E-9") == "[staff] and [staff]"


def test_a_rule_that_does_not_end_drops_the_text() -> None:
    slow = Redaction(str, rules=compiled({"slow": r"(?:a|aa)+b?$"}))

    assert slow.text("a" * 100 + "!") == DROPPED


def test_a_rule_that_is_no_pattern_is_named() -> None:
    with pytest.raises(ValueError, match="staff: not a regular expression"):
        compiled({"staff": "("})


HOSTILE: list[Any] = [
    "://" + ":" * 397,
    "-eyJaaaaaaaa",
    "eyJ",
    "1 ",
    "4",
    "411 ",
    "1",
    "4111 ",
    "AA11 ",
    "DE89",
    "a@",
    "@a.",
    "a" * 64 + "@",
    "+1",
    "+49 (",
    "0 ",
    "030 - ",
    "bearer ",
    "sk-",
    "sk-sk_",
    "%40",
    "\u0661",
    "(((",
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_hostile_text_takes_no_longer_than_its_length(pattern: str) -> None:
    """A hundred thousand letters; were the time to grow with their square, it would be minutes."""
    text = (pattern * LONGEST)[: LONGEST - 1]
    began = time.process_time()
    PLAIN.text(text)

    assert time.process_time() - began < 4
