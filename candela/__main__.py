"""`python -m candela` is `candela`."""

from candela.cli import main

main()
