"""Runs `candela` as `python -m candela`."""

from candela.cli import main

main()
