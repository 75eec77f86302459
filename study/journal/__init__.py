"""A study's home folder, its journal and its lease."""

from study.journal.events import Entry, Event
from study.journal.files import has_events, journal_file, read_entries, superseded
from study.journal.home import HomeError, StudyHome, safe_name, studies_home, trial_folder
from study.journal.journal import Journal
from study.journal.lease import Lease, LeaseError, LeaseLostError, holder, silent
from study.journal.lines import JournalError
from study.journal.trial import Trial, standing, unknown_trial

__all__ = [
    "Entry",
    "Event",
    "HomeError",
    "Journal",
    "JournalError",
    "Lease",
    "LeaseError",
    "LeaseLostError",
    "StudyHome",
    "Trial",
    "has_events",
    "holder",
    "journal_file",
    "read_entries",
    "safe_name",
    "silent",
    "standing",
    "studies_home",
    "superseded",
    "trial_folder",
    "unknown_trial",
]
