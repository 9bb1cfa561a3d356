"""``python -m internimage`` is the command line."""

from internimage.cli.main import main

main()
