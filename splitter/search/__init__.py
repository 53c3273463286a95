"""Joint choice of a network and its split: spaces, estimators of accuracy and latency, strategies.

The three axes are those of Elsken, Metzen and Hutter, "Neural Architecture Search: A Survey",
2019: `space` (what can be chosen), `estimate` (how good a choice is) and `strategy` (how to
choose). Placement is a fourth: every strategy chooses devices too.
"""
