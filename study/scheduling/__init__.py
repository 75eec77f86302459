"""Ray: engines and their pool, the thin Trainable, and Tune's interfaces over the conductor."""
