"""Ray Tune's interfaces over the conductor, and the one run of Tune that a study has."""
