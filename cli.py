"""Runs the command from a checkout: `python cli.py hosts.txt`. Installed, the same command is `resolve`."""

from resolver.__main__ import main

if __name__ == "__main__":
    main()
