"""What passes of answers whose parts have headers of their own."""

from __future__ import annotations

import random

import pytest

from rrm.gateway.parts import Parts, has_parts, is_encoded

STREAM = (
    b"--b\r\nSet-Cookie: a=b\r\nSET-COOKIE: c\r\nContent-Type: image/jpeg\r\n\r\nsetset-cookset-cookie-cookie\r\n--b"
)


def test_no_part_sets_a_cookie_wherever_the_body_was_cut() -> None:
    chance = random.Random(7)
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(STREAM) + 1), 6))
        pieces = [STREAM[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
        parts = Parts()
        passed = [parts.passing(piece, is_last=False) for piece in pieces]
        whole = b"".join([*passed, parts.passing(b"", is_last=True)])
        assert (b"set-cookie" in whole.lower(), len(whole)) == (False, len(STREAM))
        assert b"\r\nContent-Type: image/jpeg\r\n\r\n" in whole


def test_a_picture_does_not_wait_for_the_next_one() -> None:
    assert Parts().passing(b"\xff\xd9\r\n--frame\r\n", is_last=False) == b"\xff\xd9\r\n--frame\r\n"


@pytest.mark.parametrize(
    "kind", [b"multipart/x-mixed-replace; boundary=b", b"Multipart/Mixed", b"image/png, multipart/x"]
)
def test_answers_with_parts_are_known_by_their_type(kind: bytes) -> None:
    assert has_parts([(b"Content-Type", kind)])
    assert not has_parts([(b"Content-Type", b"image/jpeg"), (b"X-Note", kind)])


def test_compressed_ones_are_known() -> None:
    assert is_encoded([(b"Content-Encoding", b"gzip")])
    assert not is_encoded([(b"Content-Encoding", b"identity")])
