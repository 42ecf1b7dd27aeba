"""One file a network: load its weights, preprocess media, embed. Built as Class(weights, device) in a worker."""
