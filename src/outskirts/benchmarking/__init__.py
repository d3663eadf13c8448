"""A matrix of methods and seeds on one benchmark: what is to be run, running it, and where each method stands."""
