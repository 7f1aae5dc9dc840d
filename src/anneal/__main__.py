"""``python -m anneal <verb> ...``: the same as the command ``anneal``."""

from anneal.commands.main import main

main()
