"""Hazards: one process runs a long file at the end while the others wait; tests of a file are torn apart or reordered."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

FILES = {
    "a_test.py": "def test_2(): pass\ndef test_1(): pass",
    "b_test.py": "import pytest\ndef test_quick(): pass\n@pytest.mark.timeout(400)\ndef test_long(): pass",
    "c_test.py": "import pytest\npytestmark = pytest.mark.timeout(600)\ndef test_c(): pass",
    "d_test.py": "import pytest\npytestmark = pytest.mark.timeout(400)\ndef test_d(): pass",
}


def run(pytester: pytest.Pytester, *options: str) -> list[str]:
    """Run the files in a process of their own and return the names of the tests in the order in which they ended."""
    for name, text in FILES.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    plugin = ("-p", "cell_monitor_testing.file_order", "-p", "no:asyncio", "-o", "python_files=*_test.py", "-v")
    ran = pytester.runpytest_subprocess(*plugin, *options)
    ran.assert_outcomes(passed=6)
    return [next(word for word in line.split() if "::" in word) for line in ran.outlines if "PASSED" in line]


def test_files_of_long_tests_are_first_and_each_file_keeps_its_order(pytester: pytest.Pytester) -> None:
    assert run(pytester, "-n", "1", "--dist", "loadfile", "--no-loadscope-reorder") == [
        "c_test.py::test_c",
        "b_test.py::test_quick",
        "b_test.py::test_long",
        "d_test.py::test_d",
        "a_test.py::test_2",
        "a_test.py::test_1",
    ]


def test_one_process_keeps_the_order_of_pytest(pytester: pytest.Pytester) -> None:
    """``make test-hosts`` starts each host once, because pytest sorts the tests of all files by their host."""
    assert run(pytester)[:2] == ["a_test.py::test_2", "a_test.py::test_1"]
