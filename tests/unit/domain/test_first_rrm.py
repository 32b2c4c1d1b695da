"""The first RRM's numbers and its options written as text."""

from __future__ import annotations

import pytest

from rrm.domain import first_rrm
from rrm.domain.first_rrm import EARLIER, WORDS, Code, Seen, code_of
from rrm.domain.states import NodeState, SessionState
from rrm.errors import Invalid

PENDING, READY, FAILED = SessionState.PENDING, SessionState.READY, SessionState.FAILED


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (Seen(PENDING, is_open=False, has_reason=False), Code.STOPPED),
        (Seen(PENDING, is_open=False, has_reason=True), Code.FAILED),
        (Seen(PENDING, is_open=True, has_reason=True), Code.STARTING),
        (Seen(PENDING, True, True, NodeState.REQUESTED), Code.STARTING),
        (Seen(PENDING, True, True, NodeState.REQUESTED, is_batch=True), Code.SCHEDULING),
        (Seen(PENDING, True, True, NodeState.SUBMITTED, is_batch=True, waits_at_site=True), Code.SCHEDULED),
        (Seen(PENDING, True, True, NodeState.SUBMITTED, is_batch=True), Code.STARTING),
        (Seen(PENDING, True, True, NodeState.SUBMITTED, waits_at_site=True), Code.STARTING),
        (Seen(PENDING, True, True, NodeState.IDLE), Code.STARTING),
        (Seen(READY, True, False, NodeState.BOOKED), Code.RUNNING),
        (Seen(READY, True, False, NodeState.BOOKED, is_silent=True), Code.BUSY),
        (Seen(FAILED, True, True, NodeState.FAILED), None),
        (Seen(FAILED, True, True), Code.FAILED),
    ],
)
def test_each_state_has_its_number(seen: Seen, code: Code | None) -> None:
    assert code_of(seen) == code


def test_every_number_has_words_and_an_earlier_number() -> None:
    assert list(WORDS) == list(EARLIER) == list(Code)
    assert sorted(set(EARLIER.values())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=1,B=2", {"A": "1", "B": "2"}),
        ("A=1 B=2\tC=3", {"A": "1", "B": "2", "C": "3"}),
        ("LIST=a,b,c C=d", {"LIST": "a,b,c", "C": "d"}),
        ("URL=http://x/?a=b,C=", {"URL": "http://x/?a=b", "C": ""}),
        ("1A=2, ,", {}),
        ("A=it's", {"A": "it's"}),
    ],
)
def test_variables_come_with_commas_or_blanks(text: str, expected: dict[str, str]) -> None:
    assert first_rrm.variables(text) == expected


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "pythonpath", "BASH_ENV", "http_proxy", "RRM_NODE_NAME", "ENV"])
def test_variables_that_change_what_is_run_are_known(name: str) -> None:
    assert first_rrm.may_mislead(name)


@pytest.mark.parametrize("name", ["DISPLAY", "EQ_WINDOW_IATTR_HINT_DRAWABLE", "OMP_NUM_THREADS", "PATHOLOGY"])
def test_others_are_free(name: str) -> None:
    assert not first_rrm.may_mislead(name)


@pytest.mark.parametrize(
    ("text", "as_shell", "expected"),
    [
        ("--a 'b c'", False, """--a ''"'"'b' 'c'"'"''"""),
        ("--a 'b c'", True, "--a 'b c'"),
        ("--a 'b", True, """--a ''"'"'b'"""),
        ("$(touch x) ; ${rest_port}", True, "'$(touch' 'x)' ';' '${rest_port}'"),
        ("  ", True, ""),
    ],
)
def test_parameters_become_words(text: str, as_shell: bool, expected: str) -> None:
    assert first_rrm.words(text, as_shell=as_shell) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-02:30", 95400), ("1-02:30:05", 95405)],
)
def test_time_limits_are_read_as_the_scheduler_reads_them(text: str, seconds: int) -> None:
    assert first_rrm.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-1", "1h", "1:"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="allocation_time"):
        first_rrm.seconds(text)
