"""The passes over the files of a log, by part.

In come a log and an engine; a pass does each part and adds the parts up in
their order, so that what comes out has the bits of one part, whoever did it.
"""
