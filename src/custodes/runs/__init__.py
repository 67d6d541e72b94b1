"""The only room that writes results: run folders, event logs, lineages."""

from custodes.runs.events import Event, EventLog, read_events
from custodes.runs.files import write_atomic, write_json
from custodes.runs.folder import RunFolder, code_state
from custodes.runs.lineage import Checkpoint, read_lineage

__all__ = [
    "Checkpoint",
    "Event",
    "EventLog",
    "RunFolder",
    "code_state",
    "read_events",
    "read_lineage",
    "write_atomic",
    "write_json",
]
