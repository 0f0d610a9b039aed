"""resexp: a laboratory for one question, what does a shortcut change?"""

__version__ = "0.1.0"
