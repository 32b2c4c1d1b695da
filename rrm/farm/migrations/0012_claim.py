"""The function by which PostgreSQL makes a claim in one call (`farm.claims`)."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# Each statement of a volatile function sees what was committed before it began: the job is looked at after the share is
# locked. An error undoes all of it. What is committed here may be lost with the power, but only with all that came
# after it: the tiles are then offered again, and the node's result is refused.
_MAKE = """
CREATE FUNCTION farm_claim(share_id bigint, size integer, lease jsonb, node uuid, origin text, news jsonb, event jsonb)
RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    first integer;
    changed farm_node := jsonb_populate_record(NULL::farm_node, news);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE farm_jobshare SET cursor = cursor + size WHERE id = share_id AND cursor + size <= stop
        RETURNING cursor - size INTO first;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'other nodes were faster' USING ERRCODE = 'RRM01';
    END IF;
    INSERT INTO farm_lease SELECT given.* FROM farm_job job, jsonb_populate_record(
        NULL::farm_lease, lease || jsonb_build_object('start', first, 'stop', first + size)) given
        WHERE job.id = given.job_id AND job.state = 'RUNNING';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the job is no longer offered' USING ERRCODE = 'RRM01';
    END IF;
    IF event IS NULL THEN
        UPDATE farm_node SET streak = changed.streak, streak_since = changed.streak_since,
            last_heartbeat = changed.last_heartbeat WHERE id = node AND state = origin;
    ELSE
        UPDATE farm_node SET streak = changed.streak, streak_since = changed.streak_since,
            last_heartbeat = changed.last_heartbeat, state = changed.state, state_since = changed.state_since,
            reason = changed.reason, idle_since = changed.idle_since WHERE id = node AND state = origin;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the node no longer takes work' USING ERRCODE = 'RRM01';
    END IF;
    INSERT INTO farm_event SELECT told.* FROM jsonb_populate_record(
        NULL::farm_event, event || jsonb_build_object('id', nextval(pg_get_serial_sequence('farm_event', 'id')))) told
        WHERE event IS NOT NULL;
    RETURN first;
END
$$
"""
_DROP = "DROP FUNCTION farm_claim(bigint, integer, jsonb, uuid, text, jsonb, jsonb)"


def make(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(_MAKE, params=None)


def drop(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(_DROP, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("farm", "0011_steady"),
    ]

    operations = [
        migrations.RunPython(make, drop),
    ]
