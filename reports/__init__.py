"""What people read: published tables, tables of runs, and their formats. Knows `harness` alone."""
