"""Intervals and estimators. Numbers in, numbers out: nothing here depends on a study."""

FEWEST = 6
"""Seeds from which on the sign test can reject at 2.5 % a side: fewer can decide nothing."""
FEWEST_LOOKED = 7
"""Likewise of data that are looked at more than once: from here on a look can decide."""

FEWEST_BOUNDED = 3
"""Trials from which on a look can bound a break-even: of fewer not even all that reach it do."""

BOUND_BY = 12
"""Times the break-even: so many independent trials hold its interval's upper end with a chance of
80 %, if the level is known."""
