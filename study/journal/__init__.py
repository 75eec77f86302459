"""A study's home folder, its journal and its lease."""

from study.journal.home import HomeError, StudyHome, studies_home, trial_folder
from study.journal.journal import Journal
from study.journal.lease import Lease, LeaseError
from study.journal.lines import Event, JournalError, read_events

__all__ = [
    "Event",
    "HomeError",
    "Journal",
    "JournalError",
    "Lease",
    "LeaseError",
    "StudyHome",
    "read_events",
    "studies_home",
    "trial_folder",
]
