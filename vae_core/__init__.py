"""The shared VAE core: data, models, balancers, the bank and evaluation. PyTorch only."""
