"""Things to look through: one widget a file, each showing what a run has recorded.

Widgets import liveavatar; nothing in liveavatar imports widgets. A widget is given what it draws and owns no run.
"""
