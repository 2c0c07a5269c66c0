"""Which target gets a request, and what happens when it fails."""
