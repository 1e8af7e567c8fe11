"""A module that takes as long to import as a large library on a busy machine."""

from threading import Event

Event().wait(5.0)
