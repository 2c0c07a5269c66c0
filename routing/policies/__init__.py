"""How a route orders its targets: one function each, named in POLICIES."""
