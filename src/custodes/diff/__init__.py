"""What changed between two models, how sure that is, and what would have been seen anyway.

``compare`` is the way in: two sets of responses go in, a ``Diff`` comes out.
"""

from custodes.diff.compare import Diff, compare
from custodes.diff.findings import Finding
from custodes.diff.responses import Responses, read_responses

__all__ = ["Diff", "Finding", "Responses", "compare", "read_responses"]
