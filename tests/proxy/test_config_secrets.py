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


def test_stored_secrets_are_announced_and_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"keys\[0\]: found a stored secret, which is not available yet"):
        loaded(tmp_path, '["stored:openai"]')


def test_a_header_may_be_a_reference(tmp_path: Path) -> None:
    (tmp_path / "modelport.toml").write_text(
        '[providers.openai]\nheaders = { a = "env:A", b = "plain", c = "env:GONE" }\n', encoding="utf-8"
    )
    found = load(folder=tmp_path, environ={"A": "aaa"})
    headers = found.settings.providers["openai"].headers

    assert {name: secret.reveal() for name, secret in headers.items()} == {"a": "aaa", "b": "plain"}
    assert len(found.warnings) == 1


def test_required_keys_without_a_usable_master_key_are_refused(tmp_path: Path) -> None:
    """Nobody could get in."""
    (tmp_path / "modelport.toml").write_text('[auth]\nrequired = true\nmaster_key = "env:GONE"\n', encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        load(environ={}, folder=tmp_path)

    assert "auth.required: found true, expected a usable auth.master_key" in str(refused.value)


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
