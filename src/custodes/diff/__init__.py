"""What changed between two models, how sure that is, and what would have been seen anyway.

``compare`` is the way in: two sets of responses go in, a ``Diff`` comes out. ``run_diff`` asks the
models, too.
"""

from custodes.diff.compare import Diff, compare
from custodes.diff.config import DiffConfig
from custodes.diff.inference.findings import Finding
from custodes.diff.responses import Responses, read_responses
from custodes.diff.run import DiffRun, run_diff

__all__ = [
    "Diff",
    "DiffConfig",
    "DiffRun",
    "Finding",
    "Responses",
    "compare",
    "read_responses",
    "run_diff",
]
