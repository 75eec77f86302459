"""A finished trial trained again, and compared to the last bit."""
