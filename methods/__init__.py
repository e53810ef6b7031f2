"""Each way to match: its maths, what it solves for, and its place in the table."""
