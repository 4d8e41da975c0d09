"""docs/exit-codes.md and the error tree say the same."""

import inspect
import re
from pathlib import Path

import pytest

from slfac.wire import errors
from slfac.wire.ending import EXIT_TERMINATED

pytestmark = pytest.mark.device

PAGE = Path(__file__).parents[2] / "docs" / "exit-codes.md"
ROW = re.compile(r"\| (\d+) \| (?:`(\w+)`|-) \| (.*?) \| (.*?) ?\|")
LINES = [line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| \d", line)]
ROWS = [ROW.fullmatch(line).groups() for line in LINES]
CLASSES = {
    name: cls
    for name, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.SlfacError)
}


def test_every_error_is_listed_with_its_code():
    assert {name: int(code) for code, name, *_ in ROWS if name} == {
        name: cls.exit_code for name, cls in CLASSES.items()
    }


def test_the_codes_that_are_no_errors_are_listed():
    assert [int(code) for code, name, *_ in ROWS if not name] == [
        0,
        errors.EXIT_INTERRUPTED,
        EXIT_TERMINATED,
    ]


def test_each_code_is_one_errors_own_and_they_are_in_order():
    codes = [int(code) for code, *_ in ROWS]
    assert codes == sorted(set(codes))


def test_every_error_has_a_meaning_and_something_to_do():
    for _, name, meaning, remedy in ROWS:
        assert meaning
        assert remedy or not name


def test_the_tree_in_the_modules_docstring_is_the_tree():
    lines = re.findall(r"^([| +-]*)(\w+Error) +(\d+)", errors.__doc__, re.MULTILINE)
    depths = {name: len(indent) // 4 - 1 for indent, name, _ in lines}
    assert {name: int(code) for _, name, code in lines} == {
        name: cls.exit_code for name, cls in CLASSES.items()
    }
    for name, cls in CLASSES.items():
        assert depths[name] == len(cls.__mro__) - len(errors.SlfacError.__mro__)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_reads_as_one_line(name):
    error = CLASSES[name]("file 'a\nb' is wrong", "fix\tit")
    assert str(error) == "file 'a b' is wrong; fix it"
    assert str(CLASSES[name]("alone")) == "alone"
