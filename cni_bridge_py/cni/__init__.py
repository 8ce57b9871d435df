"""The CNI protocol: parameters in, results and errors out, and how another plugin is run.

Nothing here knows of the kernel, or of how an attachment is made.
"""
