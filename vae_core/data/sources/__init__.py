"""The built-in data sources; their names are in :mod:`vae_core.data.source`."""
