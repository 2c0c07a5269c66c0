"""The server and the command line: sockets, files, the environment and the terminal live here alone."""
