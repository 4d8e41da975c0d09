"""What runs on a testbed's hosts, with nothing but Python's standard library.

These files travel as one archive that Python runs. A command gets one line of JSON on its standard
input, then perhaps bytes, and answers with lines of JSON, the last of which is its result.
"""
