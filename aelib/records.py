"""Dataclasses made of what a file says, each field of its declared type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]
Record = TypeVar("Record")


def made(kind: type[Record], content: Mapping[str, Any]) -> Record:
    """Return a dataclass of what JSON, or a checkpoint, has for its fields.

    Raises
    ------
    ValueError
        A field is missing, unknown, or of another type: a list where a number is declared, text that would be one.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     height: float
    >>> made(Size, {"height": 28})
    Size(height=28.0)
    """
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(content, Mapping) or content.keys() - known:
        raise ValueError(f"expected {', '.join(sorted(known))}, got {content!r:.200}")
    try:
        adapter = _adapter(kind)  # type: ignore[arg-type]
        record: Record = adapter.validate_json(json.dumps(dict(content), default=repr), strict=True)
    except ValidationError as error:
        said = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r:.60}"
            if one["loc"]
            else one["msg"].removeprefix("Value error, ")  # of the class itself
            for one in error.errors()
        )
        raise ValueError(f"{kind.__name__}: {'; '.join(said):.500}") from error
    return record


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
