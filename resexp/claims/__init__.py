"""What is claimed of shortcuts, and what these runs say to it: one grammar for `--expect`, windows and papers' claims.

read(source)                     the claims of a file, a shipped one by name
primaries(results)               verdicts on what the configs name as confirmatory
judge(expectation, results)      a verdict for each arm that it is about, with its scope
"""

from resexp.claims.files import Claim, is_file, read, shipped
from resexp.claims.judging import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Judged, Place, judge, primaries
from resexp.claims.measures import MEASURES

__all__ = [
    "CONTRADICTED",
    "MEASURES",
    "NOT_TESTED",
    "SUPPORTED",
    "UNDECIDED",
    "Claim",
    "Judged",
    "Place",
    "is_file",
    "judge",
    "primaries",
    "read",
    "shipped",
]
