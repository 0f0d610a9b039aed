"""Claims about shortcuts and verdicts on them; hypotheses, acceptance ranges and claims of papers share one grammar.

read(source)                     the claims of a file, or of a shipped file by name
primaries(results)               verdicts on the primary (confirmatory) hypotheses of the configs
judge(expectation, results)      a verdict for each arm of a hypothesis, with its scope
"""

from resexp.claims.claim_files import Claim, is_file, read, shipped
from resexp.claims.judging import Judgment, Verdict, judge, primaries
from resexp.claims.quantities import MEASURES
