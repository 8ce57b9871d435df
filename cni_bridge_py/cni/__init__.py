"""The CNI protocol: parameters in, results and errors out, and how to run another plugin.

Nothing here knows about the kernel, or about how an attachment is made.
"""
