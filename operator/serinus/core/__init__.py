"""Pure decisions: what was observed goes in, what should happen comes out.

No I/O, no clock, no logging: time, readings and randomness arrive as arguments. Only the standard library and
`serinus.api` are imported here.
"""
