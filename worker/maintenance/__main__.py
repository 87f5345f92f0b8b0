"""Entry point of `python -m worker.maintenance`."""

from worker.maintenance.main import main

if __name__ == "__main__":
    main()
