"""Hazard: the simulated class shows errors that Python would not raise for that code."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import traceback
from importlib import resources
from typing import Any

import pytest

from cell_monitor.simulation.exercises import EXERCISES, NOTEBOOK_ID, Exercise, Mistake, Solution, format_traceback


def _run(code: str) -> tuple[str, str | None, BaseException | None]:
    """Run code as a notebook cell: printed text, shown result, exception."""
    printed = io.StringIO()
    scope: dict[str, Any] = {}
    result = None
    try:
        tree = ast.parse(code, "<cell>")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, "<cell>", "exec"), scope)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), scope)
                result = None if value is None else repr(value)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the student's code may raise anything
        return printed.getvalue(), None, error
    return printed.getvalue(), result, None


def _all(kind: type) -> list[Any]:
    found = []
    for exercise in EXERCISES:
        for attempt in exercise.mistakes if kind is Mistake else exercise.solutions:
            found.append(pytest.param(attempt, id=f"{exercise.cell_id}-{len(found)}"))
    return found


@pytest.mark.parametrize("mistake", _all(Mistake))
def test_mistake_raises_its_stated_error(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    if mistake.endless:
        naps = []

        def sleep(_seconds: float) -> None:
            naps.append(1)
            if len(naps) > 100:
                # Not a signal: a process started in the background ignores it, and the loop would not end.
                raise KeyboardInterrupt

        monkeypatch.setattr("time.sleep", sleep)
    printed, _, error = _run(mistake.code)
    assert error is not None
    assert type(error).__name__ == mistake.error
    if isinstance(error, SyntaxError):
        assert (error.msg, error.lineno) == (mistake.value, mistake.line)
    else:
        assert str(error) == mistake.value
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<cell>"]
        assert mistake.line in lines
    if mistake.endless:
        assert printed.startswith(mistake.stdout)
    else:
        assert printed == mistake.stdout


@pytest.mark.parametrize("solution", _all(Solution))
def test_solution_works(solution: Solution, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    printed, result, error = _run(solution.code)
    assert error is None
    assert (printed, result) == (solution.stdout, solution.result)


def test_traceback_has_the_format_of_ipython() -> None:
    text = format_traceback(EXERCISES[0].mistakes[0], 4)
    assert text.splitlines()[1].startswith("NameError        ")
    assert "Cell In[4], line 2" in text
    assert '----> 2 print("Hello, " + nam)' in text
    assert text.endswith("NameError: name 'nam' is not defined")


def _sample() -> Any:
    return json.loads(resources.files("cell_monitor").joinpath("sample", "first-steps.ipynb").read_text("utf-8"))


def test_sample_notebook_belongs_to_the_sample_course() -> None:
    assert _sample()["metadata"]["cell_monitor"] == {"course": "intro-python", "notebook_id": NOTEBOOK_ID}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.cell_id)
def test_exercise_is_the_sample_notebooks_cell_with_its_first_mistake(exercise: Exercise) -> None:
    cells = _sample()["cells"]
    cell = cells[exercise.index]
    assert cell["id"] == exercise.cell_id
    assert "".join(cell["source"]) == exercise.mistakes[0].code
    heading = next(line for line in "".join(cells[exercise.index - 1]["source"]).splitlines() if line.startswith("## "))
    assert heading == f"## {exercise.heading}"
