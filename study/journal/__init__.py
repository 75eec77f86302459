"""A study's home folder, its journal and its lease."""

from study.journal.files import has_events, journal_file, read_events, superseded
from study.journal.home import HomeError, StudyHome, safe_name, studies_home, trial_folder
from study.journal.journal import Journal
from study.journal.lease import Lease, LeaseError, LeaseLostError, holder
from study.journal.lines import Event, JournalError

__all__ = [
    "Event",
    "HomeError",
    "Journal",
    "JournalError",
    "Lease",
    "LeaseError",
    "LeaseLostError",
    "StudyHome",
    "has_events",
    "holder",
    "journal_file",
    "read_events",
    "safe_name",
    "studies_home",
    "superseded",
    "trial_folder",
]
