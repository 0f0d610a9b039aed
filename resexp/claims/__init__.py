"""Claims about shortcuts and verdicts on them: one grammar for `--expect`, acceptance ranges and papers' claims.

read(source)                     the claims of a file, a shipped one by name
primaries(results)               verdicts on what the configs name as confirmatory
judge(expectation, results)      a verdict for each arm that it is about, with its scope
"""

from resexp.claims.claim_files import Claim, is_file, read, shipped
from resexp.claims.judging import CellVerdict, Judgment, Verdict, judge, primaries
from resexp.claims.quantities import MEASURES

__all__ = ["MEASURES", "CellVerdict", "Claim", "Judgment", "Verdict", "is_file", "judge", "primaries", "read", "shipped"]
