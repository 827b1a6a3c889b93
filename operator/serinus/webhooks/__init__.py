"""Notifications on their way out: signatures, addresses, and the one POST that carries each.

`serinus.shell.notifications` decides what is sent when; this package knows only how.
"""
