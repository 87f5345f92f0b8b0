"""How an uploaded CSV file is to be read, as parameters of the query."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from core.datasets.tables.column_roles import TableOptions
from core.datasets.tables.csv_file import Delimiter, Encoding


def _about(option: str) -> str:
    return f"Of a CSV file: {TableOptions.model_fields[option].description}"


Columns = list[str]


def _asked(
    target: Annotated[Columns, Query(description=_about("target"))] = [],  # noqa: B006 - FastAPI copies it
    columns: Annotated[Columns, Query(description=_about("columns"))] = [],  # noqa: B006
    numeric: Annotated[Columns, Query(description=_about("numeric"))] = [],  # noqa: B006
    categorical: Annotated[Columns, Query(description=_about("categorical"))] = [],  # noqa: B006
    ignore: Annotated[Columns, Query(description=_about("ignore"))] = [],  # noqa: B006
    weight: Annotated[str | None, Query(min_length=1, max_length=1000, description=_about("weight"))] = None,
    missing: Annotated[Literal["drop", "impute"] | None, Query(description=_about("missing"))] = None,
    task: Annotated[
        Literal["auto", "classification", "binary", "regression"] | None, Query(description=_about("task"))
    ] = None,
    window: Annotated[int | None, Query(ge=1, le=100_000, description=_about("window"))] = None,
    horizon: Annotated[int | None, Query(ge=1, le=10_000, description=_about("horizon"))] = None,
    valid_share: Annotated[float | None, Query(gt=0.0, lt=1.0, description=_about("valid_share"))] = None,
    test_share: Annotated[float | None, Query(ge=0.0, lt=1.0, description=_about("test_share"))] = None,
    encoding: Annotated[Encoding | None, Query(description=_about("encoding"))] = None,
    delimiter: Annotated[Delimiter | None, Query(description=_about("delimiter"))] = None,
) -> dict[str, Any]:
    """Return what was given; where it contradicts itself, refuse it as FastAPI would."""
    given = {name: value for name, value in locals().items() if value not in (None, [])}
    try:
        TableOptions.model_validate(given)
    except ValidationError as error:
        found = [
            {**one, "loc": ("query", *(one["loc"] or ("window",)))}
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise RequestValidationError(found) from None
    return given


TableQueryDep = Annotated[dict[str, Any], Depends(_asked)]
