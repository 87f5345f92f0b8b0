"""Runs the command line as `python -m candela`."""

from candela.cli import main

main()
