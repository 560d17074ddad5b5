"""``python -m limitlens.pipeline`` is the command line."""

from limitlens.pipeline.cli import main

main()
