import pytest

from hmdc_ray.errors import DivergedError, InputError, RunError
from hmdc_ray.evaluation.outcome import Failure, attempt


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("student 'a' diverges"), "student 'a' diverges"),
        (InputError("it is missing"), "student 'a': it is missing"),
        (RunError("it died"), "student 'a': it died"),
        (ValueError("gone\nastray"), "student 'a': ValueError: gone"),
        (MemoryError(), "student 'a': MemoryError"),
    ],
    ids=repr,
)
def test_the_reason_is_one_line_and_a_traceback_is_kept_of_errors_in_a_program(error: Exception, reason: str) -> None:
    failure = attempt("student 'a'", raising, error)
    assert failure.reason == reason
    assert ("raise error" in failure.traceback) == (type(error) in (ValueError, MemoryError))


def test_a_failure_among_the_arguments_is_passed_on_and_values_are_returned() -> None:
    failure = Failure("the teacher failed")
    assert attempt("student", raising, ValueError(), failure) is failure
    assert attempt("student", max, 3, 4) == 4


def test_interrupts_are_no_failures() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt("student", raising, KeyboardInterrupt())
