"""Statements on rows by plain conditions, for what happens at every question of every node.

They do what the query builder's do; but that builds and compiles each one anew, which takes about five times as long as
sending it and reading the answer (`docs/explanation/decisions.md`). Values go through the columns' fields both ways, so
they are the same on every database. Whatever is asked less often, or is more than this, is asked of the query builder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.db.models import Field, Model

M = TypeVar("M", bound=Model)
_Convert = Callable[[Any], Any]
_NOTHING: Mapping[str, float] = {}


def insert(row: Model, source: str = "", facts: Sequence[Any] = ()) -> bool:
    """Store a new row, if there is a row in `source`, which is "TABLE WHERE …" with `facts`; whether it was stored.

    A key that the database makes is not read back.
    """
    model = type(row)
    values = [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in _stored(model)]
    marks = ", ".join(["%s"] * len(values))
    given = f"SELECT {marks} FROM {source}" if source else f"VALUES ({marks})"  # noqa: S608
    return run(f"INSERT INTO {_table(model)} ({_stored_columns(model)}) {given}", [*values, *facts]) == 1


def as_json(row: Model) -> str:
    """A new row by its columns, as PostgreSQL's `jsonb_populate_record` takes it."""
    return json.dumps({field.column: field.pre_save(row, add=True) for field in _stored(type(row))}, default=str)


def update(
    model: type[Model], where: Mapping[str, Any], changes: Mapping[str, Any], plus: Mapping[str, float] = _NOTHING
) -> int:
    """Set columns of the rows where others have these values, and add to some; how many rows there were."""
    sql = _update(model, tuple(where), tuple(changes), tuple(plus))
    return run(sql, [*_prepared(model, changes), *plus.values(), *_prepared(model, where)])


def count_up(
    model: type[Model],
    column: str,
    id: Any,
    changes: Mapping[str, Any] = _NOTHING,
    plus: Mapping[str, float] = _NOTHING,
) -> int:
    """`update` a row and add one to a column of it; what that has now. Raises ObjectDoesNotExist."""
    where, fields = {"pk": id}, fields_of(model, column)
    sql = f"{_update(model, tuple(where), tuple(changes), (column, *plus))} RETURNING {_quoted(fields[0])}"
    rows = rows_of(sql, [*_prepared(model, changes), 1, *plus.values(), *_prepared(model, where)], fields)
    if not rows:
        raise ObjectDoesNotExist(f"No {model._meta.verbose_name} {id}.")
    return int(rows[0][0])


def get(model: type[M], **where: Any) -> M:
    """The row where columns have these values. Raises ObjectDoesNotExist."""
    row = first(model, **where)
    if row is None:
        raise ObjectDoesNotExist(f"No {model._meta.verbose_name} has {where}.")
    return row


def first(model: type[M], **where: Any) -> M | None:
    """A row where columns have these values; None if there is none."""
    names = _names(model)
    rows = select(model, names, where)
    return model.from_db(connection.alias, names, rows[0]) if rows else None


def select(model: type[Model], names: tuple[str, ...], where: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """These columns of the rows where others have these values, in any order."""
    return rows_of(_select(model, names, tuple(where)), _prepared(model, where), fields_of(model, *names))


@cache
def fields_of(model: type[Model], *names: str) -> tuple[Field[Any, Any], ...]:
    return tuple(_field(model, name) for name in names)


def rows_of(sql: str, values: Sequence[Any], fields: tuple[Field[Any, Any], ...]) -> list[tuple[Any, ...]]:
    """What a SELECT of these fields finds."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows = cursor.fetchall()
    converters = _converters(fields, connection.vendor)
    if not converters:
        return list(rows)
    return [_converted(row, converters) for row in rows]


def run(sql: str, values: Sequence[Any]) -> int:
    """Execute a statement; how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)


def key(model: type[Model], value: Any) -> Any:
    """A primary key of the model as the database takes it."""
    return model._meta.pk.get_db_prep_save(value, connection)


@cache
def _stored_columns(model: type[Model]) -> str:
    return ", ".join(_quoted(field) for field in _stored(model))


@cache
def _stored(model: type[Model]) -> tuple[Field[Any, Any], ...]:
    """What a new row has: everything but a number that the database makes."""
    return tuple(field for field in model._meta.concrete_fields if not field.db_returning)


@cache
def _field(model: type[Model], name: str) -> Field[Any, Any]:
    if name == "pk":
        return model._meta.pk
    return next(field for field in model._meta.concrete_fields if name in (field.name, field.attname))


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _quoted(field: Field[Any, Any]) -> str:
    return connection.ops.quote_name(str(field.column))


@cache
def _names(model: type[Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields)


@cache
def _select(model: type[Model], names: tuple[str, ...], where: tuple[str, ...]) -> str:
    columns = ", ".join(_quoted(_field(model, name)) for name in names)
    return f"SELECT {columns} FROM {_table(model)} WHERE {_equal(model, where, ' AND ')}"  # noqa: S608


@cache
def _update(model: type[Model], where: tuple[str, ...], changed: tuple[str, ...], counted: tuple[str, ...] = ()) -> str:
    columns = [_quoted(_field(model, name)) for name in counted]
    sums = ", ".join(f"{column} = {column} + %s" for column in columns)
    changes = ", ".join(part for part in (_equal(model, changed, ", "), sums) if part)
    return f"UPDATE {_table(model)} SET {changes} WHERE {_equal(model, where, ' AND ')}"  # noqa: S608


def _equal(model: type[Model], names: tuple[str, ...], between: str) -> str:
    return between.join(f"{_quoted(_field(model, name))} = %s" for name in names)


def _prepared(model: type[Model], values: Mapping[str, Any]) -> list[Any]:
    given = ((_field(model, name), value.pk if isinstance(value, Model) else value) for name, value in values.items())
    return [field.get_db_prep_save(value, connection) for field, value in given]


@cache
def _converters(fields: tuple[Field[Any, Any], ...], vendor: str) -> Mapping[int, Sequence[_Convert]]:
    """What turns the values of a database of this vendor into those of the fields, by position."""
    columns = {at: field.get_col(field.model._meta.db_table) for at, field in enumerate(fields)}
    found = {
        at: [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
        for at, column in columns.items()
    }
    return {at: [partial(_convert, how, columns[at]) for how in ways] for at, ways in found.items() if ways}


def _convert(how: Callable[[Any, Any, Any], Any], column: Any, value: Any) -> Any:
    return how(value, column, connection)


def _converted(row: tuple[Any, ...], converters: Mapping[int, Sequence[_Convert]]) -> tuple[Any, ...]:
    values = list(row)
    for at, ways in converters.items():
        for convert in ways:
            values[at] = convert(values[at])
    return tuple(values)
