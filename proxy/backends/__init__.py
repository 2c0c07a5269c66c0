"""The other side: what answers an attempt."""
