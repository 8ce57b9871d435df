"""The benchmark: `sudo bench/run` compares the plugin with the reference ones. See README.md here.

No test is here: a figure is read by a person, and does not pass or fail.
"""
