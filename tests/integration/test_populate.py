"""`manage.py populate`: a file is accepted as a whole or not at all, and repeating it changes nothing."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import Model

from rrm.farm import jobs, tokens
from rrm.farm.models import Event, Quota, RenderModel, Resource, Site, Token

pytestmark = pytest.mark.django_db

FOLDER = settings.BASE_DIR / "deployment" / "populate"
SITE = "sites: {here: {max_nodes: 2}}\n"
RESOURCE = SITE + "resources: {mandelbrot: {sites: [here], max_nodes: 1}}\n"
VALLEY = "{viewport: [-0.745, -0.735, 0.105, 0.115], max_iter: 2000}"
FIRST_RRM = r"""#!/bin/sh
# Fills the configuration of the first RRM.
rrm_service_port=9000
curl -X POST --header "Content-Type: application/json" \
     --data '{"id": "Livre", "command_line": "livre", "modules": "viz/livre", "environment_variables": "A=1 B=2",
              "process_rest_parameters_format": "--zeroeq-http-server :${rest_port}",
              "scheduler_rest_parameters_format": "--zeroeq-http-server :${rest_port}",
              "project": "proj3", "queue": "interactive", "exclusive": "False", "nb_nodes": 1, "nb_cpus": "16",
              "nb_gpus": 1, "graceful_exit": true, "wait_until_running": true, "name": "Livre",
              "description": "It'"'"'s fast"}' \
     http://localhost:${rrm_service_port}/${rrm_service_name}/config/
curl -XPOST -d'{"id": "brayns", "command_line": "brayns", "memory": 512}' http://h/config  # the other one
"""


def populate(*args: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("populate", *map(str, args), stdout=out, no_color=True, **options)
    return out.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, name: str = "farm.yaml") -> Path:
        path: Path = tmp_path / name
        path.write_text(text)
        return path

    return write


def rows() -> dict[str, list[Any]]:
    models: tuple[type[Model], ...] = (Site, Resource, RenderModel, User, Token, Event)
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


class TestTheDefaultFile:
    def test_registers_one_site_one_resource_and_six_models(self) -> None:
        populate()

        site, resource = Site.objects.get(), Resource.objects.get()
        assert (site.pk, site.kind, site.max_nodes) == ("local", "local", 2)
        assert (resource.pk, resource.renderer, resource.max_nodes, resource.idle_timeout) == (
            *("mandelbrot", "mandelbrot", 1, 60),
        )
        assert [place.site_id for place in resource.placements.all()] == ["local"]
        assert set(RenderModel.objects.values_list("name", flat=True)) == {
            *("valley", "burst", "rows", "deep-1e30", "deep-1e100", "deep-1e300")
        }

    def test_changes_nothing_the_second_time(self) -> None:
        populate()
        before = rows()

        assert populate().splitlines()[-1] == "0 created, 0 changed, 8 unchanged"
        assert rows() == before

    @pytest.mark.parametrize("name", ["deep-1e30", "deep-1e100", "deep-1e300"])
    def test_lets_deep_pictures_be_ordered(self, name: str) -> None:
        populate()

        job, _ = jobs.submit(User.objects.create_user("ada"), {"model": name, "width": 64, "height": 64})

        assert job.view["method"] == "perturbation"

    @pytest.mark.parametrize(
        ("name", "width", "height"), [("valley", 4096, 4096), ("burst", 2048, 2048), ("rows", 8192, 6144)]
    )
    def test_lets_the_historic_pictures_be_ordered(self, name: str, width: int, height: int) -> None:
        populate()
        order = {"model": name, "width": width, "height": height}

        job, _ = jobs.submit(User.objects.create_user("ada"), order)

        assert (job.width, job.height) == (width, height)


def test_a_dry_run_shows_the_difference_and_writes_nothing() -> None:
    before = rows()

    said = populate("--dry-run")

    assert "+ site local: name 'This machine', kind local" in said
    assert said.splitlines()[-1] == "8 created, 0 changed, 0 unchanged (dry run: nothing was written)"
    assert rows() == before


def test_a_change_is_shown_from_old_to_new_and_recorded(write: Any) -> None:
    populate(write(RESOURCE))

    said = populate(write(RESOURCE.replace("max_nodes: 1", "max_nodes: 3, queue: night")))

    assert said.splitlines() == [
        "= site here",
        "~ resource mandelbrot: max_nodes: 1 → 3, queue: '' → night",
        "0 created, 1 changed, 1 unchanged",
    ]
    assert Resource.objects.get().max_nodes == 3
    assert Event.objects.filter(actor="populate", subject_id="mandelbrot").count() == 2


def test_the_order_of_sites_is_kept_and_changed(write: Any) -> None:
    text = "sites: {a: {}, b: {}, c: {}}\nresources: {r: {sites: [c, a]}}"
    populate(write(text))
    assert [place.site_id for place in Resource.objects.get().placements.all()] == ["c", "a"]

    said = populate(write(text.replace("[c, a]", "[b, c, a]")))

    assert "~ resource r: sites: [c, a] → [b, c, a]" in said
    assert [place.site_id for place in Resource.objects.get().placements.all()] == ["b", "c", "a"]


def test_capabilities_are_kept_in_order_so_that_repeating_changes_nothing(write: Any) -> None:
    text = "sites: {here: {capabilities: [gpu, avx512, gpu]}}"
    assert "capabilities [avx512, gpu]" in populate(write(text))
    assert Site.objects.get().capabilities == ["avx512", "gpu"]

    assert populate(write(text)).splitlines()[-1] == "0 created, 0 changed, 1 unchanged"
    assert "~ site here: capabilities: [avx512, gpu] → [gpu]" in populate(write(text.replace("avx512, gpu", "gpu")))
    populate(write("sites: {here: {capabilities: []}}"))
    assert Site.objects.get().capabilities == []


def test_fields_that_the_file_does_not_name_stay_as_they_are(write: Any) -> None:
    populate(write(RESOURCE))
    Site.objects.update(enabled=False, name="Closed by hand")

    populate(write(RESOURCE))

    assert Site.objects.filter(enabled=False, name="Closed by hand").exists()


def test_create_only_leaves_what_exists(write: Any) -> None:
    populate(write(RESOURCE))
    Site.objects.update(max_nodes=9)

    said = populate(write(SITE + "models: {valley: {params: " + VALLEY + "}}"), "--create-only")

    assert Site.objects.get().max_nodes == 9
    assert said.splitlines()[-1] == "1 created, 0 changed, 1 unchanged"


def test_quiet_means_quiet() -> None:
    assert populate(verbosity=0) == ""


class TestNamedModels:
    def test_a_name_moves_to_other_parameters(self, write: Any) -> None:
        populate(write("models: {valley: {params: " + VALLEY + "}}"))
        old = RenderModel.objects.get()

        said = populate(write("models: {valley: {params: " + VALLEY.replace("2000", "500") + "}}"))

        assert "max_iter: 2000" in said.partition("→")[0]
        assert "max_iter: 500" in said.partition("→")[2]
        old.refresh_from_db()
        assert old.name is None
        assert RenderModel.objects.get(name="valley").params["max_iter"] == 500

    def test_two_names_can_be_exchanged(self, write: Any) -> None:
        one, two = VALLEY, VALLEY.replace("2000", "500")
        populate(write(f"models: {{one: {{params: {one}}}, two: {{params: {two}}}}}"))

        populate(write(f"models: {{one: {{params: {two}}}, two: {{params: {one}}}}}"))

        assert RenderModel.objects.count() == 2
        assert RenderModel.objects.get(name="one").params["max_iter"] == 500
        assert populate(write(f"models: {{one: {{params: {two}}}, two: {{params: {one}}}}}")).startswith("= model one")

    def test_digits_beyond_a_double_are_kept(self, write: Any) -> None:
        digits = "-0.12345678901234567890123456789"

        populate(write(f"models: {{deep: {{params: {{center: [{digits}, 0.5], radius: 0.25, max_iter: 9}}}}}}"))

        assert RenderModel.objects.get().params["center"][0] == digits

    def test_pinning_is_a_change(self, write: Any) -> None:
        populate(write("models: {valley: {params: " + VALLEY + "}}"))

        said = populate(write("models: {valley: {pinned: true, params: " + VALLEY + "}}"))

        assert "~ model valley: pinned: no → yes" in said
        assert RenderModel.objects.get().pinned


class TestAccounts:
    TEXT = """
users:
  ada: {email: ada@example.org, operator: true, password_env: ADA_PASSWORD}
  bob: {staff: true, password_file: bob.txt}
  portal: {}
tokens:
  portal: {user: portal, scopes: [render, read], secret_file: tokens/portal, expires_at: 2099-01-01}
"""

    @pytest.fixture
    def file(self, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("ADA_PASSWORD", "difference engine")
        (tmp_path / "bob.txt").write_text("correct horse battery\n")
        path: Path = write(self.TEXT.replace("2099-01-01", "2099-01-01T00:00:00Z"))
        return path

    def test_users_come_with_what_their_passwords_refer_to(self, file: Path) -> None:
        said = populate(file)

        ada, bob, portal = (User.objects.get(username=name) for name in ("ada", "bob", "portal"))
        assert ada.check_password("difference engine")
        assert bob.check_password("correct horse battery")
        assert not portal.has_usable_password()
        assert [(user.is_staff, user.is_superuser) for user in (ada, bob, portal)] == [
            *((True, True), (True, False), (False, False)),
        ]
        assert "engine" not in said
        assert "horse" not in said

    def test_a_new_token_leaves_its_secret_in_a_private_file(self, file: Path) -> None:
        populate(file)

        kept = settings.RRM.data_dir / "tokens" / "portal"
        token = tokens.authenticate(kept.read_text().strip())
        assert token
        assert (token.user.username, token.scopes) == ("portal", ["read", "render"])
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def test_nothing_changes_the_second_time(self, file: Path) -> None:
        populate(file)
        before, secret = rows(), (settings.RRM.data_dir / "tokens" / "portal").read_text()

        assert populate(file).splitlines()[-1] == "0 created, 0 changed, 4 unchanged"
        assert rows() == before
        assert (settings.RRM.data_dir / "tokens" / "portal").read_text() == secret

    def test_a_dry_run_writes_no_secret(self, file: Path) -> None:
        kept = settings.RRM.data_dir / "tokens" / "portal"
        kept.unlink(missing_ok=True)

        populate(file, "--dry-run")

        assert not kept.exists()
        assert not User.objects.exists()

    def test_a_new_password_is_a_change_that_is_not_shown(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        populate(file)
        monkeypatch.setenv("ADA_PASSWORD", "analytical engine")

        said = populate(file)

        assert "~ user ada: password: ••• → •••" in said
        assert User.objects.get(username="ada").check_password("analytical engine")

    def test_other_scopes_keep_the_secret(self, file: Path) -> None:
        populate(file)
        secret = (settings.RRM.data_dir / "tokens" / "portal").read_text().strip()

        file.write_text(file.read_text().replace("[render, read]", "[read]"))
        said = populate(file)

        assert "~ token portal: scopes: [read, render] → [read]" in said
        token = tokens.authenticate(secret)
        assert token
        assert token.scopes == ["read"]


def test_an_empty_file_is_nothing_to_do(write: Any) -> None:
    assert populate(write("# nothing yet\n")) == "0 created, 0 changed, 0 unchanged\n"


def test_the_example_with_two_sites_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_ADA_PASSWORD", "difference engine")

    populate(FOLDER / "example-two-sites.yaml")

    resource = Resource.objects.get()
    assert [place.site_id for place in resource.placements.all()] == ["cluster", "workstation"]
    assert populate(FOLDER / "example-two-sites.yaml").splitlines()[-1].startswith("0 created, 0 changed")


class TestAFileOfTheFirstRrm:
    def test_registers_its_resources(self, write: Any) -> None:
        populate(write(SITE))

        populate(write(FIRST_RRM, "populateRRM.txt"), "--site", "here")

        livre = Resource.objects.get(pk="livre")
        assert (livre.renderer, livre.command_line, livre.modules) == ("external", "livre", "viz/livre")
        assert livre.process_rest_parameters_format == "--zeroeq-http-server :${rest_port}"
        assert (livre.exclusive, livre.nb_cpus, livre.nb_gpus, livre.memory) == (False, 16, 1, 0)
        assert livre.description == "It's fast"
        assert Resource.objects.get(pk="brayns").memory == 512
        assert [place.site_id for place in livre.placements.all()] == ["here"]

    def test_changes_nothing_the_second_time(self, write: Any) -> None:
        populate(write(FIRST_RRM, "populateRRM.txt"))

        assert populate(write(FIRST_RRM, "populateRRM.txt")).splitlines()[-1] == "0 created, 0 changed, 2 unchanged"

    def test_is_never_executed(self, write: Any, tmp_path: Path) -> None:
        mark = tmp_path / "executed"
        text = f"touch {mark}\n$(touch {mark})\n`touch {mark}`\n" + FIRST_RRM

        populate(write(text, "populateRRM.txt"))

        assert not mark.exists()

    @pytest.mark.parametrize(
        ("line", "complaint"),
        [
            ('curl -d \'{"id": "a"}\' http://h/session/', "populate.sh:2: Only calls that post to"),
            ("curl -X POST http://h/config/", "populate.sh:2: The call has no --data"),
            ("curl -d '{id: a}' http://h/config/", "populate.sh:2: The data is not JSON"),
            ("curl -d '[]' http://h/config/", "populate.sh:2: The data is not a JSON object"),
            ("curl -d @body.json http://h/config/", "populate.sh:2: The data is not JSON"),
            ('curl -d \'{"name": "a"}\' http://h/config/', "populate.sh:2: The data has no id"),
            ('curl -d "{\\"id\\": \\"$ID\\"}" http://h/config/', "populate.sh:2: The data uses shell variables"),
            ('curl -d \'{"id": "a", "gpu": 1}\' http://h/config/', "populate.sh:2: The first RRM has no field gpu"),
            (
                'curl -d \'{"id": "a", "nb_cpus": "many"}\' http://h/config/',
                "populate.sh:2: resources.a.nb_cpus: Must be",
            ),
            ('curl -d \'{"id": "a b"}\' http://h/config/', "populate.sh:2: resources.a b: Use lower-case"),
            ('curl -d \'{"id": "a"} http://h/config/', "populate.sh:2: A quote has no end"),
        ],
    )
    def test_what_is_not_understood_is_refused_with_its_line(self, write: Any, line: str, complaint: str) -> None:
        with pytest.raises(CommandError, match=complaint):
            populate(write(f"#!/bin/sh\n{line}\n", "populate.sh"))

        assert not Resource.objects.exists()

    def test_one_id_twice_is_refused(self, write: Any) -> None:
        text = 'curl -d \'{"id": "a"}\' http://h/config/\ncurl -d \'{"id": "A"}\' http://h/config/; \n'

        with pytest.raises(CommandError, match=r"populate\.sh:2: resources\.a: Registered twice"):
            populate(write(text, "populate.sh"))

    def test_sites_are_for_this_format_only(self, write: Any) -> None:
        with pytest.raises(CommandError, match="--site goes with a file of the first RRM only"):
            populate(write(SITE), "--site", "here")


def test_quotas_are_set_changed_and_left(write: Any) -> None:
    text = "users: {ada: {}}\nquotas: {ada: {weight: 2, max_nodes: 4, max_queued_pixels: 8000000000}}\n"
    assert "+ quota ada: weight 2, max_nodes 4, max_queued_pixels 8000000000" in populate(write(text))
    quota = Quota.objects.get(owner__username="ada")
    assert (quota.weight, quota.max_nodes, quota.max_queued_pixels, quota.max_sessions) == (2, 4, 8 * 10**9, None)
    assert "= quota ada" in populate(write(text))
    assert "~ quota ada: max_nodes: 4 → none" in populate(write("quotas: {ada: {max_nodes: null}}"))
    assert Quota.objects.get(owner__username="ada").max_nodes is None


def test_a_quota_that_cannot_be_is_refused_with_its_line(write: Any) -> None:
    with pytest.raises(CommandError) as refused:
        populate(write("users: {ada: {}}\nquotas:\n  ada: {weight: 0, max_nodes: -1}\n  eve: {max_sessions: two}\n"))
    for said in ("quotas.ada.weight", "quotas.ada.max_nodes", "There is no user 'eve'", "quotas.eve.max_sessions"):
        assert said in str(refused.value)
    assert not Quota.objects.exists()
