"""Machines as people have them: Debian's root file systems, runtimes and packages, and README's commands as typed."""
