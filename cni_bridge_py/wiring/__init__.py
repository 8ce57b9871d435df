"""What an attachment is made of: a list of steps, planned purely and then applied."""
