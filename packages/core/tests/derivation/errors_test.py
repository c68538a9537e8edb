"""Equal errors have equal signatures, others do not, and nothing of what a student typed can be read from one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.derivation.errors import ErrorSigner, normalise_error

SIGNER = ErrorSigner(b"k" * 32)


@pytest.mark.parametrize(
    ("name", "value", "normalised"),
    [
        ("NameError", "name 'hoge' is not defined", "NameError\nname '' is not defined"),
        ("KeyError", "'a'", "KeyError\n''"),
        ("KeyError", '"it\'s"', "KeyError\n''"),
        ("IndexError", "list index out of range", "IndexError\nlist index out of range"),
        (
            "ValueError",
            "invalid literal for int() with base 10: '12a'",
            "ValueError\ninvalid literal for int() with base 0: ''",
        ),
        ("ValueError", "x must be at most 1,000.5e-3, not -17", "ValueError\nx must be at most 0, not -0"),
        ("TypeError", "<__main__.A object at 0x7F3aB2c0> is bad", "TypeError\n<__main__.A object at 0> is bad"),
        ("SyntaxError", "invalid syntax\n  (cell.py,   line 3)", "SyntaxError\ninvalid syntax (cell.py, line 0)"),
        ("E", "「教材」が ない", "E\n''が ない"),
        ("E", "\u201ca b\u201d \u2018c\u2019 `d`", "E\n'' '' ''"),
        ("E", "an open ' quote and 3", "E\nan open ' quote and 0"),
        ("E", "e\u0301", "E\n\u00e9"),
        ("E", "", "E\n"),
    ],
)
def test_what_differs_from_one_occurrence_to_the_next_is_left_out(name: str, value: str, normalised: str) -> None:
    assert normalise_error(name, value) == normalised


def test_signatures_distinguish_errors_by_class_and_message() -> None:
    mine = SIGNER.sign("NameError", "name 'a' is not defined")
    assert mine == SIGNER.sign("NameError", "name 'b' is not defined")
    others = {
        SIGNER.sign("NameError", "name 'a' is not callable"),
        SIGNER.sign("UnboundLocalError", "name 'a' is not defined"),
        ErrorSigner(b"l" * 32).sign("NameError", "name 'a' is not defined"),
    }
    assert len(others | {mine}) == 4


def test_a_signature_is_hmac_sha256_cut_to_128_bits() -> None:
    # printf 'NameError\nname \'\' is not defined' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    assert SIGNER.sign("NameError", "name 'a' is not defined") == "910c5ad1d8554044d8e9d69dfd9cd3b6"


@given(st.text(max_size=60), st.text(max_size=300))
def test_whatever_a_message_holds_it_has_a_signature(name: str, value: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in name + value):
        return
    assert len(SIGNER.sign(name, value)) == 32
    assert normalise_error(name, value) == normalise_error(name, value + "  ")
