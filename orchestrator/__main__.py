"""`python -m orchestrator` is `orchestrate`."""

from orchestrator.cli.app import main

if __name__ == "__main__":
    main()
