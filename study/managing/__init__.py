"""A study from outside, running or not: status, commands, clean-up and report."""
