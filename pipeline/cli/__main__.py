"""``python -m pipeline.cli``: the command line without an installed ``atomstream``."""

from pipeline.cli import entry_point

if __name__ == "__main__":
    entry_point()
