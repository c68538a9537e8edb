"""Hazard: metaphors and bookish words return to the code and the docs, and a reader has to guess what they mean."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cell_monitor_core.settings import ENV_PREFIX, RENAMED

REPOSITORY: Final = Path(__file__).parents[2]
SUFFIXES: Final = {".py", ".ts", ".tsx", ".sql", ".md", ".yaml", ".yml"}

# Words and phrases (as regular expressions, in lower case, one space between words) and what to write instead. They are
# looked for in comments, strings and names; `snake_case` and `camelCase` names are split into words.
INSTEAD: Final = {
    r"lest": "so that … not",
    r"whoever|whomever": "each person who, any caller that",
    r"anew": "again",
    r"hence|thereof|thereby|therein|whence|whereby|wherein|whereupon": "therefore, so, of it, by which",
    r"thus|albeit|amid|ere|whilst|upon|nor does|befall|befell|forthwith": "so, although, during, on",
    r"for good": "permanently; of an event: rejected",
    r"for ever": "without end, without limit, permanently",
    r"away": "unavailable (of a server), absent (of a person), close or remove (for 'send away', 'take away')",
    r"told|(?:tell|tells) (?:whether|apart)": "return, report, show, notify, distinguish",
    r"roads?": "path, pipeline, test mode",
    r"rooms?": "channel, classroom, space",
    r"lanes?": "connection, concurrency, batch",
    r"(?<!in )flights?": "request, in-flight request",
    r"departs?|departed|departure": "send, leave",
    r"company": "linger: wait for more records",
    r"makes? do|made do": "uses, works with",
    r"mends?|mended|mending": "repair, correct, fix",
    r"hold still|holds still": "wait",
    r"hand(?:s|ed|ing)? out": "give, issue, deliver, return",
    r"farewells?|goodbyes?": "close message, shutdown",
    r"haste": "forced, early",
    r"heard|hears?": "received",
    r"aside": "move to failed_events (dead letter), isolate, keep separately",
    r"stash(?:es|ed)?": "buffer",
    r"in vain": "without effect",
    r"at fault": "invalid, the cause of the error",
    r"ways? out": "what to do, advice",
    r"(?:mis)?spelt": "misspelled, spelled, written",
    r"lies?|lay|lain": "is stored, is in",
    r"stands?(?! for| ins?\b)|stood": "is, is written, is blocked",
    r"twins?": "the implementation in memory, counterpart",
    r"in clear": "unencrypted, in plain text",
    r"given up": "aborted, stopped, dropped",
    r"says? so|said so": "report it, the message contains it",
    r"fates?": "result, outcome",
}

EXCEPT: Final = (
    # Published migrations are never edited.
    "packages/core/src/cell_monitor_core/storage/postgres/migrations/0",
    # The list itself.
    "tests/docs/words_test.py",
)


def tracked() -> list[Path]:
    """Return the tracked files in English, without the exceptions."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    names = [name for name in output.split("\0") if Path(name).suffix in SUFFIXES and not name.endswith(".ja.md")]
    paths = [REPOSITORY / name for name in names if not any(re.match(pattern, name) for pattern in EXCEPT)]
    # A file that was deleted and not yet committed is still listed.
    return [path for path in paths if path.is_file()]


def normalised(text: str) -> str:
    """Return text in lower case, with names split into words and one space between words; line ends are kept."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    text = re.sub(r"[^A-Za-z\n]+", " ", text).lower()
    return re.sub(r" *\n *", "\n", text)


PATTERNS: Final = {
    re.compile(r"\b(?:" + pattern.replace(" ", r"\s") + r")\b"): instead for pattern, instead in INSTEAD.items()
}


# The former names of settings remain in the table and its tests.
FORMER_NAMES: Final = re.compile("|".join(rf'\b{ENV_PREFIX}{name}\b|"{name}"' for name in RENAMED))


def found_in(text: str) -> Iterator[str]:
    """Yield a message for each word of the list in a text."""
    words = normalised(FORMER_NAMES.sub("", text))
    for pattern, instead in PATTERNS.items():
        for match in pattern.finditer(words):
            line = words.count("\n", 0, match.start()) + 1
            yield f"{line}: {' '.join(match[0].split())!r}; write instead: {instead}"


def test_code_and_docs_use_plain_terms() -> None:
    paths = tracked()
    assert len(paths) > 100
    found = [
        f"{path.relative_to(REPOSITORY)}:{message}"
        for path in paths
        for message in found_in(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "# Whoever asks gets it.",
        "def test_road():",
        "class TestRoad:",
        "const heardAt = 0;",
        "# a request that is put\n# aside",
        '"""Tell whether it runs."""',
    ],
)
def test_words_are_found_in_sentences_and_names(text: str) -> None:
    assert list(found_in(text))


@pytest.mark.parametrize(
    "text",
    ["the in-flight requests", "standalone", "broadcast", "classroom", "AbstractBroad", "stands for the course"],
)
def test_other_words_that_contain_them_are_accepted(text: str) -> None:
    assert not list(found_in(text))
