"""The command line for people."""


def main() -> int:
    """Nothing yet."""
    return 0
