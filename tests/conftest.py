"""What all tests share: nothing that talks to anything beyond loopback."""
