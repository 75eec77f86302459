"""Running a study: everything between a checked spec and its report."""
