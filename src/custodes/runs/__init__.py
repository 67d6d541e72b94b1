"""Run folders, logs, stores and lineages: the only room that writes results."""

from custodes.runs.events import Event, EventLog, read_events
from custodes.runs.files import write_atomic, write_json
from custodes.runs.folder import RunFolder, code_state, overwriting
from custodes.runs.lineage import Checkpoint, read_lineage
from custodes.runs.log import Log, read_log
from custodes.runs.store import Store

__all__ = [
    "Checkpoint",
    "Event",
    "EventLog",
    "Log",
    "RunFolder",
    "Store",
    "code_state",
    "overwriting",
    "read_events",
    "read_lineage",
    "read_log",
    "write_atomic",
    "write_json",
]
