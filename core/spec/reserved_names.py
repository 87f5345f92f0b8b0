"""Names that clients cannot give to models, datasets and aliases, because they are parts of paths of the API."""

RESERVED_NAMES = frozenset(
    "aliases config embed explain generate generate_stream index infer load predict predictions ready stats trace "
    "unload versions".split()
)
"""A model of such a name may have no path: `/v2/models/stats` is the statistics of all models.

One set applies to all resources, so that a dataset can give its name to a model.
"""


def find_name_error(name: str) -> str | None:
    """Return the reason why a new resource cannot have this name, or None."""
    if name not in RESERVED_NAMES:
        return None
    return f"{name!r} is reserved, because it is a part of paths of the API; choose another name"
