"""References to secrets, and the type that hides them."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigError, Loaded, Secret, load
from proxy.config.secrets import NoSecret, masked
from proxy.config.show import shown_values

LONG = "sk-0123456789abcdefWXYZ"


def loaded(folder: Path, keys: str, environ: dict[str, str] | None = None) -> Loaded:
    (folder / "modelport.toml").write_text(f"[providers.openai]\nkeys = {keys}\n", encoding="utf-8")
    return load(folder=folder, environ=environ or {})


def revealed(found: Loaded) -> list[str]:
    return [secret.reveal() for secret in found.settings.providers["openai"].keys or ()]


def test_references_lead_to_variables_and_to_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"{LONG}\n", encoding="utf-8")

    found = loaded(tmp_path, '["env:A", "file:key.txt"]', {"A": " aaa "})

    assert revealed(found) == ["aaa", LONG]
    assert found.warnings == ()


def test_a_literal_is_taken_with_a_warning_that_does_not_show_it(tmp_path: Path) -> None:
    found = loaded(tmp_path, f'["{LONG}"]')

    assert revealed(found) == [LONG]
    assert found.warnings[0].startswith("providers.openai.keys[0]: the key stands here as it is")
    assert LONG not in found.warnings[0]


@pytest.mark.parametrize("reference", ["env:GONE", "env:EMPTY", "file:gone.txt"])
def test_a_reference_to_nothing_is_left_out_with_a_warning(tmp_path: Path, reference: str) -> None:
    found = loaded(tmp_path, f'["{reference}", "env:A"]', {"A": "aaa", "EMPTY": " "})

    assert revealed(found) == ["aaa"]
    assert found.warnings[0].startswith("providers.openai.keys[0]: the ")
    assert found.warnings[0].endswith("it is left out")


@pytest.mark.parametrize("value", ["two\nlines", "bell\u0007", "kéy"])
def test_a_key_that_no_header_can_carry_is_an_error(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, '["env:A"]', {"A": value})

    assert "providers.openai.keys[0]" in str(error.value)
    assert value not in str(error.value)


def test_a_stored_secret_is_looked_up_when_the_database_is_open(tmp_path: Path) -> None:
    (tmp_path / "modelport.toml").write_text(
        '[providers.openai]\nkeys = ["stored:a", "env:A"]\nheaders = { x = "stored:b" }\n', encoding="utf-8"
    )
    found = load(folder=tmp_path, environ={"A": "aaa"})
    provider = found.settings.providers["openai"]

    assert [secret.stored_name for secret in provider.keys or ()] == ["a", None]
    assert provider.headers["x"].stored_name == "b"
    assert found.warnings == ()
    with pytest.raises(NoSecret, match="stored:a was not resolved"):
        (provider.keys or ())[0].reveal()
    assert ("providers.openai.keys", ["stored:a", "env:A (…)"]) in [
        (each.key, each.value) for each in shown_values(found)
    ]


def test_of_a_stored_secret_nothing_is_printed() -> None:
    assert str(Secret(LONG, "stored:a")) == "stored:a"
    assert repr(Secret(LONG, "stored:a")) == "Secret(stored:a)"


@pytest.mark.parametrize("place", ["auth]\nmaster_key", "secrets]\nkey", "secrets]\npassphrase"])
def test_what_opens_the_database_cannot_be_in_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "modelport.toml").write_text(f'[{place} = "stored:a"\n', encoding="utf-8")

    with pytest.raises(ConfigError, match="found a stored secret, which only a key or a header of a provider can be"):
        load(folder=tmp_path, environ={})


GOOD_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"


@pytest.mark.parametrize(
    ("section", "environ", "told"),
    [
        ('key = "env:K"', {"K": "too short"}, "secrets.key: found no 32 bytes in base64 or hexadecimal, expected what"),
        ('previous_key = "env:K"', {"K": "too short"}, "secrets.previous_key: found no 32 bytes"),
        ('passphrase = "env:K"', {"K": "too short"}, "secrets.passphrase: found a passphrase of 9 characters"),
        ("", {"MODELPORT_SECRET_KEY": "too short"}, "MODELPORT_SECRET_KEY: secrets.key: found no 32 bytes"),
        (
            'key = "env:K"\npassphrase = "env:K"',
            {"K": GOOD_KEY},
            "secrets.passphrase: found a passphrase beside a key, expected one of the two",
        ),
    ],
)
def test_a_key_that_cannot_encrypt_is_an_error_that_does_not_repeat_it(
    tmp_path: Path, section: str, environ: dict[str, str], told: str
) -> None:
    (tmp_path / "modelport.toml").write_text(f"[secrets]\n{section}\n", encoding="utf-8")

    with pytest.raises(ConfigError) as error:
        load(folder=tmp_path, environ=environ)

    assert told in str(error.value)
    assert "too short" not in str(error.value)


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("", "env:MODELPORT_SECRET_KEY"),
        ('[secrets]\nkey = "file:key"\n', "file:key"),
        ('[secrets]\npassphrase = "env:WORDS"\n', None),
        ('[secrets]\nprevious_key = "file:key"\n', "env:MODELPORT_SECRET_KEY"),
    ],
)
def test_the_key_that_encrypts_is_the_variable_s_where_nothing_else_is_said(
    tmp_path: Path, section: str, found: str | None
) -> None:
    (tmp_path / "modelport.toml").write_text(section, encoding="utf-8")
    (tmp_path / "key").write_text(GOOD_KEY, encoding="utf-8")
    environ = {"MODELPORT_SECRET_KEY": GOOD_KEY, "WORDS": "correct horse battery"}

    key = load(folder=tmp_path, environ=environ).settings.secrets.key

    assert (key.reference if key else None) == found


def test_a_header_may_be_a_reference(tmp_path: Path) -> None:
    (tmp_path / "modelport.toml").write_text(
        '[providers.openai]\nheaders = { a = "env:A", b = "plain", c = "env:GONE" }\n', encoding="utf-8"
    )
    found = load(folder=tmp_path, environ={"A": "aaa"})
    headers = found.settings.providers["openai"].headers

    assert {name: secret.reveal() for name, secret in headers.items()} == {"a": "aaa", "b": "plain"}
    assert len(found.warnings) == 1


def test_keys_may_be_required_without_a_usable_master_key(tmp_path: Path) -> None:
    """There may be administrators' keys in the database; without one the server does not start."""
    (tmp_path / "modelport.toml").write_text('[auth]\nrequired = true\nmaster_key = "env:GONE"\n', encoding="utf-8")

    found = load(environ={}, folder=tmp_path)

    assert (found.settings.auth.required, found.settings.auth.master_key) == (True, None)
    assert any("GONE" in warning for warning in found.warnings)


@pytest.mark.parametrize(("value", "shown"), [(LONG, "sk-…WXYZ"), ("short", "…"), ("", "…")])
def test_a_mask_shows_the_ends_of_long_secrets_only(value: str, shown: str) -> None:
    assert masked(value) == shown


def test_no_way_of_printing_shows_a_secret(tmp_path: Path) -> None:
    found = loaded(tmp_path, f'["{LONG}", "env:A"]', {"A": f"{LONG}2"})

    for text in (repr(found), str(found.settings), f"{found.settings.providers}", str(shown_values(found))):
        assert LONG[4:15] not in text


def test_equal_secrets_are_equal_and_an_unresolved_one_has_no_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    with pytest.raises(NoSecret):
        Secret.written("env:A").reveal()
