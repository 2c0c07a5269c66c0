"""Several processes on one port: `[server] workers`. See docs/workers.md.

keeper    the process that was started: holds the database and the port, starts workers, relays what they say
member    what a worker gets from it
peers     a worker's line to the others: tell, ask
sharing   what a worker has in common with others: nothing, where it is alone
shared    what it has in common with them, where it is not
"""
