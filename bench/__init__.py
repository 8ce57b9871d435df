"""The benchmark: `sudo bench/run` compares the plugin with the reference's. See README.md here.

There are no tests here: a person reads the figures, and they do not pass or fail.
"""
