"""What an attachment is made of: a plan (pure functions) lists steps. A step applies, checks and explains itself.

Nothing here reads CNI's environment, prints a result, or chooses an address.
"""
