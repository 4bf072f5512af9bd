"""Frameworks: what each of them calls a connection, a start and an answer, made resilient in its own idiom.

Nothing is imported here: a program imports the room of the framework that it has.
"""
