"""Solutions of 17_claims; alone: python notebooks/solutions/17_claims.py"""

from liveavatar.lessons import check
from liveavatar.study import figures
from liveavatar.study.claims import TOO_FEW, judge_all

# half-a-decibel: what is left of the squared error, and what is gone
gained_db = 31.2 - 30.7
answer = 1 - 10 ** (-gained_db / 10)
print(check("half-a-decibel", answer))

# two-people
few = figures.results().table.where(portrait=("1001", "1002"))
answer = sum(verdict.mini == TOO_FEW for verdict in judge_all(few).values())
print(check("two-people", answer))
