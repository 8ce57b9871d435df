"""What an attachment is made of: a plan, which touches nothing, lists steps. A step applies, checks and says itself.

Nothing here reads CNI's environment or prints a result, and addresses are given: `ipam` chooses them.
"""
