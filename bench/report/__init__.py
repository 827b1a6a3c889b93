"""What was measured, as tables and plots. `run` and `comparison` are for the terminal, `scale` makes docs/scale.md."""
