"""The exercises of the simulated class: the cells of the sample notebook, with typical mistakes and solutions.

Running each piece of code gives exactly the stated error or output; a test runs all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "EXERCISES",
    "NOTEBOOK_ID",
    "NOTEBOOK_PATH",
    "NOTEBOOK_TITLE",
    "Exercise",
    "Mistake",
    "Solution",
    "format_traceback",
]

NOTEBOOK_ID: Final = "intro-python-first-steps"
"""The id in the notebook's metadata, which all copies share."""
NOTEBOOK_PATH: Final = "first-steps.ipynb"
NOTEBOOK_TITLE: Final = "first-steps"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer to an exercise.

    Attributes:
        code: the student's code.
        error: class of the exception.
        value: its message.
        line: line of ``code`` that raises it, from 1.
        stdout: the output printed before that.
        endless: the code does not end; ``error`` is the exception of an interrupt.
    """

    code: str
    error: str
    value: str
    line: int
    stdout: str = ""
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Solution:
    """A correct answer to an exercise; ``result`` is the value that the notebook shows."""

    code: str
    stdout: str = ""
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Exercise:
    """One code cell of the sample notebook.

    Attributes:
        cell_id: nbformat id in the notebook.
        index: position among all cells.
        heading: the Markdown heading above it.
        difficulty: 0 (almost all succeed at the first attempt) to 1.
        mistakes: the first is the notebook's original code.
    """

    cell_id: str
    index: int
    heading: str
    difficulty: float
    mistakes: tuple[Mistake, ...]
    solutions: tuple[Solution, ...]


def format_traceback(mistake: Mistake, execution_count: int) -> str:
    """Return a traceback in IPython's format, without colours."""
    title = f"{mistake.error}{'Traceback (most recent call last)'.rjust(75 - len(mistake.error))}"
    lines = mistake.code.splitlines()
    if mistake.error == "SyntaxError":
        shown = [f"  Cell In[{execution_count}], line {mistake.line}", f"    {lines[mistake.line - 1].strip()}"]
        return "\n".join([*shown, f"    ^\n{mistake.error}: {mistake.value}\n"])
    first = max(1, mistake.line - 2)
    last = min(len(lines), mistake.line + 2)
    body = [
        f"----> {number} {lines[number - 1]}" if number == mistake.line else f"      {number} {lines[number - 1]}"
        for number in range(first, last + 1)
    ]
    return "\n".join(
        [
            "-" * 75,
            title,
            f"Cell In[{execution_count}], line {mistake.line}",
            *body,
            "",
            f"{mistake.error}: {mistake.value}",
        ]
    )


_HELLO = Exercise(
    "ex1-hello",
    2,
    "1. Say hello",
    0.15,
    (
        Mistake(
            'name = "Aiko"\nprint("Hello, " + nam)',
            "NameError",
            "name 'nam' is not defined",
            2,
        ),
        Mistake(
            'name = Aiko\nprint("Hello, " + name)',
            "NameError",
            "name 'Aiko' is not defined",
            1,
        ),
        Mistake(
            'name = "Aiko\nprint("Hello, " + name)',
            "SyntaxError",
            "unterminated string literal (detected at line 1)",
            1,
        ),
    ),
    (
        Solution('name = "Aiko"\nprint("Hello, " + name)', "Hello, Aiko\n"),
        Solution('name = "Ken"\nprint(f"Hello, {name}")', "Hello, Ken\n"),
    ),
)

_AGE = Exercise(
    "ex2-age",
    4,
    "2. Numbers and text",
    0.3,
    (
        Mistake(
            'age = "19"\nprint("Next year you are", age + 1)',
            "TypeError",
            'can only concatenate str (not "int") to str',
            2,
        ),
        Mistake(
            'age = 19\nprint("Next year you are " + age + 1)',
            "TypeError",
            'can only concatenate str (not "int") to str',
            2,
        ),
        Mistake(
            'age = int("nineteen")\nprint("Next year you are", age + 1)',
            "ValueError",
            "invalid literal for int() with base 10: 'nineteen'",
            1,
        ),
    ),
    (
        Solution('age = "19"\nprint("Next year you are", int(age) + 1)', "Next year you are 20\n"),
        Solution('age = 19\nprint("Next year you are", age + 1)', "Next year you are 20\n"),
    ),
)

_AVERAGE_HEAD = "def average(numbers):\n    total = 0\n    for number in numbers:\n        total = total + number\n"
_AVERAGE = Exercise(
    "ex3-average",
    6,
    "3. The average of a list",
    0.45,
    (
        Mistake(
            _AVERAGE_HEAD + "    return total / len(numbers)\n\nprint(average([72, 85, 90]))\nprint(average([]))",
            "ZeroDivisionError",
            "division by zero",
            5,
            "82.33333333333333\n",
        ),
        Mistake(
            _AVERAGE_HEAD
            + "    if len(numbers) = 0:\n        return None\n    return total / len(numbers)\n\nprint(average([]))",
            "SyntaxError",
            "cannot assign to function call here. Maybe you meant '==' instead of '='?",
            5,
        ),
        Mistake(
            _AVERAGE_HEAD + "    return total / len(number)\n\nprint(average([72, 85, 90]))",
            "TypeError",
            "object of type 'int' has no len()",
            5,
        ),
    ),
    (
        Solution(
            _AVERAGE_HEAD
            + "    if not numbers:\n        return None\n    return total / len(numbers)\n\n"
            + "print(average([72, 85, 90]))\nprint(average([]))",
            "82.33333333333333\nNone\n",
        ),
    ),
)

_COUNTDOWN = Exercise(
    "ex4-countdown",
    8,
    "4. A countdown that ends",
    0.5,
    (
        Mistake(
            'import time\n\nseconds = 3\nwhile seconds > 0:\n    print(seconds)\n    time.sleep(0.5)\nprint("Start!")',
            "KeyboardInterrupt",
            "",
            6,
            "3\n3\n3\n3\n3\n3\n",
            endless=True,
        ),
        Mistake(
            "import time\n\nseconds = 3\nwhile seconds > 0:\n    print(seconds)\n    second = seconds - 1\n"
            '    time.sleep(0.5)\nprint("Start!")',
            "KeyboardInterrupt",
            "",
            7,
            "3\n3\n3\n3\n",
            endless=True,
        ),
        Mistake(
            'seconds = 3\nwhile seconds > 0:\nprint(seconds)\nseconds = seconds - 1\nprint("Start!")',
            "IndentationError",
            "expected an indented block after 'while' statement on line 2",
            3,
        ),
    ),
    (
        Solution(
            "import time\n\nseconds = 3\nwhile seconds > 0:\n    print(seconds)\n    seconds = seconds - 1\n"
            '    time.sleep(0.5)\nprint("Start!")',
            "3\n2\n1\nStart!\n",
        ),
    ),
)

_WORDS_HEAD = 'text = "the cat and the dog and the bird"\ncounts = {}\nfor word in text.split():\n'
_WORDS = Exercise(
    "ex5-words",
    10,
    "5. Count the words",
    0.75,
    (
        Mistake(_WORDS_HEAD + "    counts[word] = counts[word] + 1\ncounts", "KeyError", "'the'", 4),
        Mistake(
            _WORDS_HEAD + "    counts[word] = counts.get(word) + 1\ncounts",
            "TypeError",
            "unsupported operand type(s) for +: 'NoneType' and 'int'",
            4,
        ),
        Mistake(
            _WORDS_HEAD + "    counts.append(word)\ncounts",
            "AttributeError",
            "'dict' object has no attribute 'append'",
            4,
        ),
    ),
    (
        Solution(
            _WORDS_HEAD + "    counts[word] = counts.get(word, 0) + 1\ncounts",
            "",
            "{'the': 3, 'cat': 1, 'and': 2, 'dog': 1, 'bird': 1}",
        ),
    ),
)

_PALINDROME_TESTS = '\n\nassert is_palindrome("level")\nassert not is_palindrome("label")\nprint("all right")'
_PALINDROME = Exercise(
    "ex6-palindrome",
    12,
    "6. Forwards and backwards",
    0.6,
    (
        Mistake(
            "def is_palindrome(text):\n    return text == text.reverse()" + _PALINDROME_TESTS,
            "AttributeError",
            "'str' object has no attribute 'reverse'",
            2,
        ),
        Mistake(
            "def is_palindrome(text):\n    return text == reversed(text)" + _PALINDROME_TESTS,
            "AssertionError",
            "",
            4,
        ),
        Mistake(
            "def is_palindrome(text):\n    for i in range(len(text)):\n"
            "        if text[i] != text[len(text) - i]:\n            return False\n    return True" + _PALINDROME_TESTS,
            "IndexError",
            "string index out of range",
            3,
        ),
    ),
    (Solution("def is_palindrome(text):\n    return text == text[::-1]" + _PALINDROME_TESTS, "all right\n"),),
)

_FIZZ_TESTS = '\n\nresults = [fizzbuzz(n) for n in range(1, 16)]\nassert results[14] == "FizzBuzz"\nresults[:5]'
_FIZZBUZZ = Exercise(
    "ex7-fizzbuzz",
    14,
    "7. FizzBuzz",
    0.7,
    (
        Mistake("def fizzbuzz(number):\n    ..." + _FIZZ_TESTS, "AssertionError", "", 5),
        Mistake(
            'def fizzbuzz(number):\n    if number % 3 == 0:\n        return "Fizz"\n    if number % 5 == 0:\n'
            '        return "Buzz"\n    if number % 15 == 0:\n        return "FizzBuzz"\n    return number'
            + _FIZZ_TESTS,
            "AssertionError",
            "",
            11,
        ),
        Mistake(
            'def fizzbuzz(number):\n    if number / 15 == 0\n        return "FizzBuzz"\n    return number'
            + _FIZZ_TESTS,
            "SyntaxError",
            "expected ':'",
            2,
        ),
    ),
    (
        Solution(
            'def fizzbuzz(number):\n    if number % 15 == 0:\n        return "FizzBuzz"\n    if number % 3 == 0:\n'
            '        return "Fizz"\n    if number % 5 == 0:\n        return "Buzz"\n    return number' + _FIZZ_TESTS,
            "",
            "[1, 2, 'Fizz', 4, 'Buzz']",
        ),
    ),
)

EXERCISES: Final = (_HELLO, _AGE, _AVERAGE, _COUNTDOWN, _WORDS, _PALINDROME, _FIZZBUZZ)
"""The exercises in the order of the notebook."""
