"""Names the media types of files that are uploaded."""

from pathlib import Path

MEDIA_TYPES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".csv": "text/csv",
    ".tsv": "text/csv",
}


def get_media_type(path: Path) -> str:
    """Return the media type of a file by its name. A gzipped table is sent as a table."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    is_table = MEDIA_TYPES.get(name.suffix.lower()) == "text/csv"
    return "text/csv" if is_table else MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
