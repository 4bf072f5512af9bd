"""Every way in which people connect, and what is made of each when nobody listens, or somebody says something else.

One file a field, a `Book` in each; one small function a client entry point, which raises the client's own error.
`python -m corpus` runs them all, each library in a process of its own, and writes the manual's table of clients.
"""
