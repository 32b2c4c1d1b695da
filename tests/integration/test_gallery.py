"""The gallery's views are orders that the service takes, and its page names each with what it was ordered by."""

from __future__ import annotations

import json

import pytest
import yaml
from django.core.management import call_command

from deployment import gallery
from rrm.farm import jobs
from tests.factories import person

GIVEN = yaml.safe_load(gallery.VIEWS.read_text())
VIEWS, SIZE = GIVEN["views"], (GIVEN["size"][0], GIVEN["size"][1])


@pytest.mark.django_db
def test_every_view_is_accepted() -> None:
    call_command("populate", verbosity=0)
    owner = person("ada")
    for view in VIEWS:
        job, _ = jobs.submit(owner, gallery.order_of(view, SIZE))
        assert (job.width, job.height) == SIZE


def test_the_page_shows_what_was_drawn_now_and_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = VIEWS[:3]
    page = gallery.PAGE.with_name("absent.md")
    monkeypatch.setattr(gallery, "PAGE", page)
    drawn = gallery.page(VIEWS, SIZE, {first["name"]: 1.5, second["name"]: 2.0})
    assert f"images/gallery/{first['name']}.webp" in drawn
    assert "1.50 s" in drawn
    assert json.dumps(gallery.order_of(second, SIZE)) in drawn
    assert third["name"] not in drawn


def test_the_page_in_the_documents_has_every_view_with_its_picture() -> None:
    page = gallery.PAGE.read_text()
    assert len(VIEWS) >= 8
    for view in VIEWS:
        assert f"images/gallery/{view['name']}.webp" in page
        assert (gallery.PICTURES / f"{view['name']}.webp").stat().st_size > 5000
