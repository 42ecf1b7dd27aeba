"""The command line, and one thin script an experiment: wiring only."""
