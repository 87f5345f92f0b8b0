"""The command line of Candela: one module for each group of commands."""

from candela.cli.app import main

__all__ = ["main"]
