"""``python -m autonodes.cli``: the command where its script is not on the PATH."""

from autonodes.cli import main

main()
