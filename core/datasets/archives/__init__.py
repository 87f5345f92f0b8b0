"""Uploaded archives: entries of zip and tar files, their layout, and the limits they must keep."""
