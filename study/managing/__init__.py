"""A study from outside, running or not: its status, commands to it, its disk, its report."""
