"""The journal as tables: trials, reports, searches, engines' time."""
