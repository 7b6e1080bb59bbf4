"""How good decoded speech is: pure functions, one module per question.

Conventions: `reference` and `decoded` are `(samples,)`, float64, one channel at the same rate and of the same
length. A measure that a pair does not have (the pitch of silence, PESQ of a tenth of a second) raises `AudioError`
with the reason; nothing returns a 0 or a 1 in its place.
"""
