"""The command line: its options, its commands, and the tables that it prints.

It may import all of the library, and nothing imports it but `__main__`.
"""
