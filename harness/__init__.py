"""The harness: nouns, store, pool, stages, and the doors to media, MLflow and Ray. Knows none of the other rooms."""
