"""An engine, in its process: a device, its banks and the trials they train. May use torch."""
